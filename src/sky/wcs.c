/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * World coordinates through wcslib. It gets only the celestial keywords of axes 1 and 2, each rewritten after a strict
 * parse. So a cube has the WCS of its planes, and malformed values of a foreign header (WCSAXES = 10^6, half a number)
 * never reach the library.
 */
#include "frames.h"
#include "sky.h"
#include "syzygy/fits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <wcslib/wcsfix.h>
#include <wcslib/wcshdr.h>
#include <wcslib/wcs.h>

struct syz_wcs {
  struct wcsprm *all; /**< allocated by wcspih */
  int n;
  struct wcsprm *one; /**< the one in use */
  sky_frame frame;    /**< of its world coordinates; ours are ICRS */
};

enum { WCS_CHUNK = 128 };

static bool is_digits(const char *p, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (p[i] < '0' || p[i] > '9') return false;
  return n > 0;
}

/* Whether a keyword (blank-trimmed) belongs to the celestial WCS of axes 1 and 2. 'T' text, 'N' number, 0 no. */
static char wcs_key(const char *key)
{
  static const char *const text[] = {"CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2", "RADESYS", "RADECSYS"};
  static const char *const number[] = {"CRVAL1",  "CRVAL2",  "CRPIX1",   "CRPIX2",  "CDELT1",  "CDELT2",
                                       "CD1_1",   "CD1_2",   "CD2_1",    "CD2_2",   "PC1_1",   "PC1_2",
                                       "PC2_1",   "PC2_2",   "CROTA2",   "LONPOLE", "LATPOLE", "EQUINOX",
                                       "A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"};
  for (size_t i = 0; i < sizeof text / sizeof *text; i++)
    if (!strcmp(key, text[i])) return 'T';
  for (size_t i = 0; i < sizeof number / sizeof *number; i++)
    if (!strcmp(key, number[i])) return 'N';
  size_t n = strlen(key);
  if ((!strncmp(key, "PV1_", 4) || !strncmp(key, "PV2_", 4)) && n <= 6 && is_digits(key + 4, n - 4)) return 'N';
  const char *p = key[0] == 'A' || key[0] == 'B' ? key + 1 : NULL;
  if (p && *p == 'P') p++;
  if (p && p[0] == '_' && p[1] >= '0' && p[1] <= '9' && p[2] == '_' && p[3] >= '0' && p[3] <= '9' && !p[4]) return 'N';
  return 0;
}

static syz_status set_up(const syz_fits_cards *c, const char *what, syz_wcs **out)
{
  syz_status st = SYZ_OK;
  syz_wcs *w = NULL;
  int rejected = 0, fixed[NWCSFIX];
  *out = NULL;
  SYZ_ALLOC(w, "WCS", 1);
  int code = wcspih(c->text, c->n, WCSHDR_all, 0, &rejected, &w->n, &w->all);
  SYZ_REQUIRE(code == 0 && w->n >= 1, SYZ_ERR_DATA, "%s: no WCS in the header", what);
  w->one = &w->all[0];
  SYZ_REQUIRE(w->one->naxis == 2, SYZ_ERR_DATA, "%s: the WCS has %d axes", what, w->one->naxis);
  wcsfix(7, NULL, w->one, fixed);
  code = wcsset(w->one);
  SYZ_REQUIRE(code == 0, SYZ_ERR_DATA, "%s: the WCS cannot be used: %s", what,
              code > 0 && code < 14 ? wcs_errmsg[code] : "unknown error");
  SYZ_REQUIRE(w->one->lng >= 0 && w->one->lat >= 0 && !strcmp(w->one->lngtyp, "RA"), SYZ_ERR_DATA,
              "%s: the axes of the WCS (%s, %s) are not RA and Dec", what, w->one->ctype[0], w->one->ctype[1]);
  *out = w;
  w = NULL;
cleanup:
  syz_wcs_destroy(&w);
  return st;
}

syz_status syz_wcs_create(const char *cards, int n_cards, const char *what, syz_wcs **out)
{
  syz_status st = SYZ_OK;
  syz_fits_cards c = {NULL, 0, 0};
  bool has_type[2] = {false, false}, has_value[2] = {false, false}, has_scale = false;
  char radesys[72] = "";
  double equinox = (double)NAN, epoch = (double)NAN; /* EPOCH: the name of EQUINOX before 1992 */
  sky_frame frame;
  *out = NULL;
  SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_INT("NAXIS", 2, NULL)));
  for (int i = 0; i < n_cards; i++) {
    char key[9], text[72];
    memcpy(key, cards + (size_t)i * SYZ_FITS_CARD, 8);
    key[8] = '\0';
    for (int k = 7; k >= 0 && key[k] == ' '; k--) key[k] = '\0';
    char kind = wcs_key(key);
    if (!strcmp(key, "EPOCH") && syz_fits_card_value(cards + (size_t)i * SYZ_FITS_CARD, text) == 'N' &&
        !syz_fits_parse_real(text, &epoch))
      epoch = (double)NAN;
    if (!kind) continue;
    char found = syz_fits_card_value(cards + (size_t)i * SYZ_FITS_CARD, text);
    double value = 0;
    if (kind == 'T') {
      SYZ_REQUIRE(found == 'T', SYZ_ERR_DATA, "%s: %s is not text", what, key);
      SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_TEXT(key, text, NULL)));
      if (!strncmp(key, "RADE", 4) && (!radesys[0] || !strcmp(key, "RADESYS")))
        snprintf(radesys, sizeof radesys, "%s", text);
      if (!strcmp(key, "CTYPE1")) has_type[0] = text[0] != '\0';
      if (!strcmp(key, "CTYPE2")) has_type[1] = text[0] != '\0';
    } else {
      SYZ_REQUIRE(found == 'N' && syz_fits_parse_real(text, &value) && isfinite(value), SYZ_ERR_DATA,
                  "%s: %s = '%s' is not a number", what, key, text);
      bool is_order = strstr(key, "ORDER") != NULL;
      SYZ_REQUIRE(!is_order || (value >= 0 && value <= 9 && value == floor(value)), SYZ_ERR_DATA, "%s: %s = %s", what,
                  key, text);
      if (is_order)
        SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_INT(key, (int64_t)value, NULL)));
      else
        SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_REAL(key, value, NULL)));
      if (!strcmp(key, "EQUINOX")) equinox = value;
      if (!strcmp(key, "CRVAL1")) has_value[0] = true;
      if (!strcmp(key, "CRVAL2")) has_value[1] = true;
      if (!strncmp(key, "CD", 2)) has_scale = true; /* CDi_j and CDELTi */
    }
  }
  SYZ_REQUIRE(has_type[0] && has_type[1] && has_value[0] && has_value[1] && has_scale, SYZ_ERR_DATA,
              "%s: no WCS in the header (CTYPE, CRVAL and CD or CDELT are needed)", what);
  SYZ_TRY(sky_frame_find(radesys, isnan(equinox) ? epoch : equinox, what, &frame));
  SYZ_TRY(set_up(&c, what, out));
  (*out)->frame = frame;
cleanup:
  syz_fits_cards_free(&c);
  return st;
}

int syz_wcs_tan_cards(double ra, double dec, double x, double y, double pixel_arcsec, syz_fits_card cards[16])
{
  int n = 0;
  cards[n++] = SYZ_CARD_TEXT("CTYPE1", "RA---TAN", "TANgent plane");
  cards[n++] = SYZ_CARD_TEXT("CTYPE2", "DEC--TAN", "TANgent plane");
  cards[n++] = SYZ_CARD_TEXT("CUNIT1", "deg", NULL);
  cards[n++] = SYZ_CARD_TEXT("CUNIT2", "deg", NULL);
  cards[n++] = SYZ_CARD_REAL("CRVAL1", ra, "Reference RA");
  cards[n++] = SYZ_CARD_REAL("CRVAL2", dec, "Reference Dec");
  cards[n++] = SYZ_CARD_REAL("CRPIX1", x + 1, "Reference x");
  cards[n++] = SYZ_CARD_REAL("CRPIX2", y + 1, "Reference y");
  cards[n++] = SYZ_CARD_REAL("CD1_1", -pixel_arcsec / 3600, "CD matrix");
  cards[n++] = SYZ_CARD_REAL("CD1_2", 0, "CD matrix");
  cards[n++] = SYZ_CARD_REAL("CD2_1", 0, "CD matrix");
  cards[n++] = SYZ_CARD_REAL("CD2_2", pixel_arcsec / 3600, "CD matrix");
  cards[n++] = SYZ_CARD_REAL("EQUINOX", 2000, NULL);
  cards[n++] = SYZ_CARD_TEXT("RADESYS", "ICRS", NULL);
  return n;
}

syz_status syz_wcs_create_tan(double ra, double dec, double x, double y, double pixel_arcsec, syz_wcs **out)
{
  syz_status st = SYZ_OK;
  syz_fits_cards c = {NULL, 0, 0};
  syz_fits_card card[16];
  *out = NULL;
  int n = syz_wcs_tan_cards(ra, dec, x, y, pixel_arcsec, card);
  SYZ_TRY(syz_fits_cards_add(&c, &SYZ_CARD_INT("NAXIS", 2, NULL)));
  for (int i = 0; i < n; i++) SYZ_TRY(syz_fits_cards_add(&c, &card[i]));
  SYZ_TRY(set_up(&c, "TAN", out));
cleanup:
  syz_fits_cards_free(&c);
  return st;
}

void syz_wcs_destroy(syz_wcs **wcs)
{
  syz_wcs *w = *wcs;
  if (!w) return;
  if (w->all) wcsvfree(&w->n, &w->all);
  syz_free(wcs);
}

syz_status syz_wcs_to_pixel(syz_wcs *w, int64_t n, const double *ra, const double *dec, double *x, double *y)
{
  syz_status st = SYZ_OK;
  double world[WCS_CHUNK][2], phi[WCS_CHUNK], theta[WCS_CHUNK], plane[WCS_CHUNK][2], pixel[WCS_CHUNK][2];
  int bad[WCS_CHUNK];
  int lng = w->one->lng, lat = w->one->lat;
  for (int64_t i = 0; i < n; i += WCS_CHUNK) {
    int m = n - i < WCS_CHUNK ? (int)(n - i) : WCS_CHUNK;
    bool is_given[WCS_CHUNK];
    for (int k = 0; k < m; k++) {
      /* A NaN position is projected as the reference point, and set to NaN afterwards. */
      is_given[k] = isfinite(ra[i + k]) && isfinite(dec[i + k]) && fabs(dec[i + k]) <= 90;
      world[k][lng] = is_given[k] ? ra[i + k] : w->one->crval[lng];
      world[k][lat] = is_given[k] ? dec[i + k] : w->one->crval[lat];
      if (is_given[k]) sky_frame_from_icrs(w->frame, &world[k][lng], &world[k][lat]);
      bad[k] = 0;
    }
    int code = wcss2p(w->one, m, 2, world[0], phi, theta, plane[0], pixel[0], bad);
    SYZ_REQUIRE(code == 0 || code == WCSERR_BAD_WORLD, SYZ_ERR_DATA, "WCS: %s",
                code > 0 && code < 14 ? wcs_errmsg[code] : "unknown error");
    for (int k = 0; k < m; k++) {
      bool is_good = is_given[k] && !bad[k];
      x[i + k] = is_good ? pixel[k][0] - 1 : (double)NAN;
      y[i + k] = is_good ? pixel[k][1] - 1 : (double)NAN;
    }
  }
cleanup:
  return st;
}

syz_status syz_wcs_to_sky(syz_wcs *w, int64_t n, const double *x, const double *y, double *ra, double *dec)
{
  syz_status st = SYZ_OK;
  double world[WCS_CHUNK][2], phi[WCS_CHUNK], theta[WCS_CHUNK], plane[WCS_CHUNK][2], pixel[WCS_CHUNK][2];
  int bad[WCS_CHUNK];
  for (int64_t i = 0; i < n; i += WCS_CHUNK) {
    int m = n - i < WCS_CHUNK ? (int)(n - i) : WCS_CHUNK;
    for (int k = 0; k < m; k++) {
      pixel[k][0] = x[i + k] + 1;
      pixel[k][1] = y[i + k] + 1;
      bad[k] = 0;
    }
    int code = wcsp2s(w->one, m, 2, pixel[0], plane[0], phi, theta, world[0], bad);
    SYZ_REQUIRE(code == 0 || code == WCSERR_BAD_PIX, SYZ_ERR_DATA, "WCS: %s",
                code > 0 && code < 14 ? wcs_errmsg[code] : "unknown error");
    for (int k = 0; k < m; k++) {
      ra[i + k] = bad[k] ? (double)NAN : world[k][w->one->lng];
      dec[i + k] = bad[k] ? (double)NAN : world[k][w->one->lat];
      sky_frame_to_icrs(w->frame, &ra[i + k], &dec[i + k]);
    }
  }
cleanup:
  return st;
}

bool syz_wcs_is_aligned(const syz_wcs *w, double pixel_arcsec)
{
  const struct wcsprm *p = w->one;
  if (w->frame != FRAME_ICRS) return false; /* its North differs from that of ICRS */
  if (p->lng != 0 || strcmp(p->ctype[0], "RA---TAN") != 0 || strcmp(p->ctype[1], "DEC--TAN") != 0 || p->npv > 0)
    return false;
  double scale = pixel_arcsec / 3600, want[4] = {-scale, 0, 0, scale};
  for (int i = 0; i < 4; i++) /* wcsset has turned CD and CROTA into PC and CDELT */
    if (!(fabs(p->pc[i] * p->cdelt[i / 2] - want[i]) <= 1e-3 * scale)) return false;
  return true;
}
