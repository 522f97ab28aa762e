/* SPDX-License-Identifier: BSD-3-Clause */
/** The band of an image, by header and file name: every survey and release writes it differently. */
#include "images.h"
#include "sky.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

const char *image_base_name(const char *path) { return strrchr(path, '/') ? strrchr(path, '/') + 1 : path; }

/* One of g, r, z, or another band: a letter (i, Y), a letter with a number (W1, M411), or NUV, FUV. */
static int band_of_word(const char *word, size_t n)
{
  if (n == 1)
    return syz_band_index(word[0]) >= 0      ? syz_band_index(word[0])
           : isalpha((unsigned char)word[0]) ? IMAGE_BAND_OTHER
                                             : IMAGE_BAND_UNKNOWN;
  if (n == 3 && (!strncasecmp(word, "NUV", n) || !strncasecmp(word, "FUV", n))) return IMAGE_BAND_OTHER;
  bool has_number = n > 1 && isalpha((unsigned char)word[0]);
  for (size_t i = 1; i < n; i++) has_number = has_number && isdigit((unsigned char)word[i]);
  return has_number ? IMAGE_BAND_OTHER : IMAGE_BAND_UNKNOWN;
}

/*
 * The forms of FILTER: "g", "g DECam SDSS c0001 4720.0 1520.0" (DECam), "zd DECam k1038" (MzLS), "bokr" (BASS),
 * "des-g", "DECam.g". The first word is the band. Source: headers of DR9 coadds, whose FILTER is that of a contributing
 * CCD.
 */
static int band_of_text(const char *text)
{
  size_t n = strcspn(text, " ");
  if (n == 2 && text[1] == 'd' && !strncasecmp(text + 2, " DECam", 6)) n = 1;
  if (n == 4 && !strncasecmp(text, "bok", 3)) return band_of_word(text + 3, 1);
  if (n >= 3 && strchr("-._", text[n - 2])) return band_of_word(text + n - 1, 1);
  return band_of_word(text, n);
}

/*
 * A survey's own file name: legacysurvey-1501p022-image-W1.fits.fz, frame-g-005112-4-0345.fits,
 * c4d_150416_232655_ooi_z_v1.fits.fz (DECam), k4m_160211_050013_ooi_zd_v2.fits.fz (MzLS, whose filter is called zd),
 * ksb_160211_070206_ooi_g_v1.fits.fz (BASS).
 */
static int band_of_survey_name(const char *path)
{
  const char *name = image_base_name(path), *at = strstr(name, "-image-");
  if (at)
    at += strlen("-image-");
  else if (!strncmp(name, "frame-", 6))
    at = name + 6;
  else if ((at = strstr(name, "_ooi_")))
    at += strlen("_ooi_");
  size_t n = at ? strcspn(at, "-_.") : 0;
  if (n == 2 && at[1] == 'd') n = 1;
  return at ? band_of_word(at, n) : IMAGE_BAND_UNKNOWN;
}

/* A single letter between separators, used if nothing else names the band: c4d_..._ooi_z_a1-S10.fits, g.fits. */
static int band_of_letter(const char *path)
{
  const char *name = image_base_name(path);
  int found = IMAGE_BAND_UNKNOWN;
  for (const char *p = name; *p; p++) {
    bool begins = p == name || strchr("-_.", p[-1]), ends = p[1] && strchr("-_.", p[1]);
    if (!begins || !ends) continue;
    int band = syz_band_index(*p);
    if (band < 0) continue;
    if (found >= 0 && found != band) return IMAGE_BAND_UNKNOWN;
    found = band;
  }
  return found;
}

/** The band of a plane as far as it is known, and its source. */
typedef struct band_claim {
  int band;
  char source[16], text[72];
} band_claim;

/* Adds what one source states; false, with the error set, if it contradicts an earlier source. */
static bool claim_band(band_claim *c, const char *where, const char *source, const char *text, int band)
{
  if (band == IMAGE_BAND_UNKNOWN) {
    if (c->band == IMAGE_BAND_UNKNOWN && !c->source[0]) { /* for the message, if nothing is understood */
      snprintf(c->source, sizeof c->source, "%s", source);
      snprintf(c->text, sizeof c->text, "%.71s", text);
    }
    return true;
  }
  if (c->band != IMAGE_BAND_UNKNOWN && c->band != band) {
    (void)syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__,
                        "%s: %s '%s' and %s '%s' name different bands: correct the header or the name", where,
                        c->source, c->text, source, text);
    return false;
  }
  if (c->band != IMAGE_BAND_UNKNOWN) return true;
  c->band = band;
  snprintf(c->source, sizeof c->source, "%s", source);
  snprintf(c->text, sizeof c->text, "%.71s", text);
  return true;
}

/* The viewer's BANDS of a cutout of one band, or else its BAND0 where no BAND1 follows: bricks list all bands of their
 * survey in this way. */
static bool viewer_band(const syz_fits *f, int hdu, const char **key, char text[72])
{
  char more[72];
  *key = "BANDS";
  if (syz_fits_key_text(f, hdu, "BANDS", text, 72) && text[0])
    return band_of_word(text, strlen(text)) != IMAGE_BAND_UNKNOWN;
  *key = "BAND0";
  return syz_fits_key_text(f, hdu, "BAND0", text, 72) && text[0] &&
         !syz_fits_key_text(f, hdu, "BAND1", more, sizeof more);
}

int image_band(const syz_fits *f, int hdu)
{
  static const char *const key[] = {"FILTERX", "BAND", "FILTER"};
  char text[72], where[256];
  band_claim c = {IMAGE_BAND_UNKNOWN, "", ""};
  syz_fits_where(f, hdu, where);
  for (int place = 0; place < 2; place++) {
    if (place && (hdu == 0 || c.band != IMAGE_BAND_UNKNOWN)) break;
    for (size_t k = 0; k < sizeof key / sizeof *key; k++)
      if (syz_fits_key_text(f, place ? 0 : hdu, key[k], text, sizeof text) && text[0] &&
          !claim_band(&c, where, key[k], text, band_of_text(text)))
        return IMAGE_BAND_ERROR;
    const char *viewer_key;
    if (viewer_band(f, place ? 0 : hdu, &viewer_key, text) &&
        !claim_band(&c, where, viewer_key, text, band_of_text(text)))
      return IMAGE_BAND_ERROR;
    const char *name = syz_fits_get(f, hdu)->name;
    if (!place && !strncasecmp(name, "IMAGE_", 6) &&
        !claim_band(&c, where, "EXTNAME", name, band_of_word(name + 6, strlen(name + 6))))
      return IMAGE_BAND_ERROR;
  }
  const char *name = image_base_name(syz_fits_path(f));
  int by_name = band_of_survey_name(name);
  if (by_name != IMAGE_BAND_UNKNOWN && !claim_band(&c, where, "file name", name, by_name)) return IMAGE_BAND_ERROR;
  if (c.band == IMAGE_BAND_UNKNOWN) c.band = band_of_letter(name);
  if (c.band != IMAGE_BAND_UNKNOWN) return c.band;
  (void)syz_error_set(
      SYZ_ERR_DATA, __FILE__, __LINE__,
      "%s: the band is named neither by FILTERX, BAND or FILTER, nor EXTNAME, nor the file name%s%s%s%s", where,
      c.source[0] ? "; not understood: " : "", c.source, c.source[0] ? " " : "", c.text);
  return IMAGE_BAND_ERROR;
}

void image_bands_of_cube(const syz_fits *f, int hdu, int64_t planes, char bands[72])
{
  char text[72], key[32];
  if (syz_fits_key_text(f, hdu, "BANDS", bands, 72) && bands[0] && strlen(bands) == (size_t)planes) return;
  for (int64_t k = 0; k < planes; k++) {
    snprintf(key, sizeof key, "BAND%lld", (long long)k);
    if (!syz_fits_key_text(f, hdu, key, text, sizeof text) || !text[0]) {
      if (!k) return; /* BANDS, if there is one, has another length, which the caller reports */
      text[0] = '\0';
    }
    bands[k] = text[0] && !text[1] ? text[0] : '?';
  }
  bands[planes] = '\0';
}
