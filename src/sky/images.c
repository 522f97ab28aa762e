/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Files with images: Legacy Survey bricks (.fits.fz), the viewer's cutouts (cubes or one HDU per band), SDSS frames,
 * DECam CCD images. Every plane needs a band, a WCS and a unit; if one is missing the plane is refused with the reason,
 * and nothing is guessed.
 */
#include "images.h"
#include "sky.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PLANES_MAX = 64, WINDOW_BLOCK = 1024, WHOLE_PIXELS = 16 << 20, SKY_PIXELS = 64 << 20 };
static const double DEGREE = 0.017453292519943295769;

/** Decoded pixels of a plane in nanomaggy: all of it, or a window of a large one. */
typedef struct window {
  float *pixels;
  int64_t x, y, width, height;
} window;

struct syz_images {
  syz_fits *file;
  syz_images_options options;
  int n;
  syz_plane plane[PLANES_MAX];
  syz_wcs *wcs[PLANES_MAX];
  window held[PLANES_MAX];
  bool has_sky[PLANES_MAX]; /**< instrumental units: the sky is not subtracted */
};

static bool contains(const char *text, const char *word)
{
  size_t n = strlen(word);
  for (; *text; text++)
    if (!strncasecmp(text, word, n)) return true;
  return false;
}

bool syz_images_is_side_product(const char *path)
{
  static const char *const word[] = {"invvar", "-nexp-",    "maskbits", "psfsize", "depth-",
                                     "-chi2-", "blobmodel", "-model-",  "_ood_",   "_oow_",
                                     "copsf_", "_wht",      "-mask",    "_mask",   "weight"};
  for (size_t i = 0; i < sizeof word / sizeof *word; i++)
    if (contains(image_base_name(path), word[i])) return true;
  return false;
}

/* ----------------------------------------------------------------- planes */

static bool is_side_hdu(const syz_fits *f, int hdu)
{
  static const char *const name[] = {"INVVAR", "IVAR", "SKY",  "CALIB", "MASK", "WEIGHT",
                                     "WHT",    "PSF",  "NEXP", "MODEL", "ERR",  "VAR"};
  static const char *const key[] = {"IMAGETYP", "IMTYPE", "PRODTYPE"};
  char text[72];
  const char *extname = syz_fits_get(f, hdu)->name;
  for (size_t i = 0; i < sizeof name / sizeof *name; i++)
    if (!strncasecmp(extname, name[i], strlen(name[i]))) return true;
  for (size_t i = 0; i < sizeof key / sizeof *key; i++)
    if (syz_fits_key_text(f, hdu, key[i], text, sizeof text) && text[0] && strcasecmp(text, "image") != 0 &&
        strcasecmp(text, "object") != 0)
      return true;
  return false;
}

/* Steradian between the centres of a pixel and its neighbours in x and y: by unit vectors, which have no special case
 * at a pole. */
static double pixel_area(const double ra[3], const double dec[3])
{
  double v[3][3];
  for (int k = 0; k < 3; k++) {
    v[k][0] = cos(dec[k] * DEGREE) * cos(ra[k] * DEGREE);
    v[k][1] = cos(dec[k] * DEGREE) * sin(ra[k] * DEGREE);
    v[k][2] = sin(dec[k] * DEGREE);
  }
  double a[3], b[3];
  for (int i = 0; i < 3; i++) {
    a[i] = v[1][i] - v[0][i];
    b[i] = v[2][i] - v[0][i];
  }
  double x = a[1] * b[2] - a[2] * b[1], y = a[2] * b[0] - a[0] * b[2], z = a[0] * b[1] - a[1] * b[0];
  return sqrt(x * x + y * y + z * z);
}

static syz_status measure_plane(syz_wcs *w, syz_plane *p)
{
  syz_status st = SYZ_OK;
  double cx = (double)(p->width - 1) / 2, cy = (double)(p->height - 1) / 2;
  double x[7] = {cx, cx + 1, cx, -0.5, (double)p->width - 0.5, -0.5, (double)p->width - 0.5};
  double y[7] = {cy, cy, cy + 1, -0.5, -0.5, (double)p->height - 0.5, (double)p->height - 0.5};
  double ra[7], dec[7];
  SYZ_TRY(syz_wcs_to_sky(w, 7, x, y, ra, dec));
  SYZ_REQUIRE(isfinite(ra[0]) && isfinite(ra[1]) && isfinite(ra[2]), SYZ_ERR_DATA,
              "the WCS has no sky at the centre of the image");
  p->ra = ra[0];
  p->dec = dec[0];
  p->pixel_arcsec = 3600 / DEGREE * sqrt(pixel_area(ra, dec));
  SYZ_REQUIRE(p->pixel_arcsec > 1e-4 && p->pixel_arcsec < 3600, SYZ_ERR_DATA, "pixels of %g arcsec", p->pixel_arcsec);
  p->radius_deg = 0;
  for (int k = 3; k < 7; k++)
    p->radius_deg = fmax(p->radius_deg, isfinite(ra[k]) ? syz_separation(p->ra, p->dec, ra[k], dec[k]) : 180);
cleanup:
  return st;
}

static syz_status add_planes(syz_images *m, int hdu)
{
  syz_status st = SYZ_OK;
  const syz_fits_hdu *h = syz_fits_get(m->file, hdu);
  char where[256], bands[72] = "";
  syz_wcs *wcs = NULL;
  int n_cards = 0, first = m->n;
  syz_fits_where(m->file, hdu, where);
  const char *cards = syz_fits_header(m->file, hdu, &n_cards);
  image_unit unit;
  int64_t planes = h->naxis == 3 ? h->shape[0] : 1, height = h->shape[h->naxis - 2], width = h->shape[h->naxis - 1];
  SYZ_REQUIRE(planes >= 1 && planes <= 16, SYZ_ERR_DATA, "%s: a cube of %lld planes, bands are needed", where,
              (long long)planes);
  SYZ_REQUIRE(width >= 2 && height >= 2 && width < (1 << 20) && height < (1 << 20), SYZ_ERR_DATA,
              "%s: an image of %lld x %lld pixels", where, (long long)width, (long long)height);
  if (h->naxis == 3) {
    if (m->options.bands[0])
      snprintf(bands, sizeof bands, "%s", m->options.bands);
    else
      image_bands_of_cube(m->file, hdu, planes, bands);
    SYZ_REQUIRE(bands[0], SYZ_ERR_DATA,
                "%s: a cube that does not name its bands (BANDS, BAND0 ...): give them with ingest.bands", where);
    SYZ_REQUIRE(strlen(bands) == (size_t)planes, SYZ_ERR_DATA, "%s: %lld planes and bands '%s'", where,
                (long long)planes, bands);
  }
  int own_band = h->naxis == 2 ? image_band(m->file, hdu) : IMAGE_BAND_UNKNOWN;
  if (own_band == IMAGE_BAND_ERROR) return syz_error_pass(SYZ_ERR_DATA, __FILE__, __LINE__);
  if (own_band == IMAGE_BAND_OTHER) return SYZ_OK; /* its WCS and unit do not matter */
  SYZ_TRY(syz_wcs_create(cards, n_cards, where, &wcs));
  SYZ_TRY(image_unit_of_hdu(m->file, hdu, &m->options, &unit));
  for (int64_t k = 0; k < planes; k++) {
    int band = h->naxis == 3 ? syz_band_index(bands[k]) : own_band;
    if (band < 0) continue; /* another band, such as i: not used */
    SYZ_REQUIRE(m->n < PLANES_MAX, SYZ_ERR_DATA, "%s: more than %d images", where, (int)PLANES_MAX);
    syz_plane *p = &m->plane[m->n];
    memset(p, 0, sizeof *p);
    p->band = band;
    p->hdu = hdu;
    p->width = width;
    p->height = height;
    p->first_pixel = k * width * height;
    p->factor = unit.factor;
    if (!wcs) SYZ_TRY(syz_wcs_create(cards, n_cards, where, &wcs));
    const syz_status measured = measure_plane(wcs, p);
    if (measured != SYZ_OK) {
      char reason[512];
      snprintf(reason, sizeof reason, "%.500s", syz_error_text());
      SYZ_REQUIRE(false, measured, "%s: %s", where, reason);
    }
    p->is_aligned = syz_wcs_is_aligned(wcs, SYZ_PIXEL_ARCSEC);
    /* At another scale values are interpolated, not binned, so they no longer scale with the pixel's area. Scales
     * within 1e-3 count as equal. */
    p->value_arcsec =
        unit.value_arcsec > 0 && fabs(p->pixel_arcsec / unit.value_arcsec - 1) > 1e-3 ? unit.value_arcsec : 0;
    if (p->value_arcsec > 0) p->factor *= p->pixel_arcsec * p->pixel_arcsec / (p->value_arcsec * p->value_arcsec);
    m->has_sky[m->n] = unit.has_sky;
    m->wcs[m->n++] = wcs;
    wcs = NULL;
  }
cleanup:
  syz_wcs_destroy(&wcs);
  if (st != SYZ_OK) {
    while (m->n > first) syz_wcs_destroy(&m->wcs[--m->n]);
  }
  return st;
}

syz_status syz_images_open(const char *path, const syz_images_options *options, syz_images **out)
{
  syz_status st = SYZ_OK;
  syz_images *m = NULL;
  char reason[SYZ_ERROR_TEXT] = "";
  bool has_image = false;
  *out = NULL;
  SYZ_ALLOC(m, "image file", 1);
  m->options = *options;
  if (!m->options.unit) m->options.unit = "";
  if (!m->options.bands) m->options.bands = "";
  if (!m->options.zero_points) m->options.zero_points = "";
  SYZ_TRY(syz_fits_open(path, options->verify, &m->file));
  for (int h = 0; h < syz_fits_count(m->file); h++) {
    const syz_fits_hdu *hdu = syz_fits_get(m->file, h);
    if ((hdu->kind != SYZ_FITS_IMAGE && hdu->kind != SYZ_FITS_COMPRESSED) || !hdu->pixels || hdu->naxis < 2 ||
        hdu->naxis > 3)
      continue;
    if (is_side_hdu(m->file, h)) continue;
    has_image = true;
    const syz_status added = add_planes(m, h);
    if (added != SYZ_ERR_DATA) SYZ_TRY(added); /* a damaged plane is skipped, but a lack of memory is an error */
    if (added != SYZ_OK && !reason[0]) snprintf(reason, sizeof reason, "%s", syz_error_text());
  }
  SYZ_REQUIRE(has_image, SYZ_ERR_DATA, "%s: no image in it (weights, masks and tables are not images)", path);
  SYZ_REQUIRE(m->n || !reason[0], SYZ_ERR_DATA, "%.3000s", reason);
  SYZ_REQUIRE(m->n, SYZ_ERR_DATA, "%s: no image in g, r or z", path);
  *out = m;
  m = NULL;
cleanup:
  syz_images_close(&m);
  return st;
}

void syz_images_unload(syz_images *m)
{
  for (int i = 0; i < m->n; i++) syz_free(&m->held[i].pixels);
}

void syz_images_close(syz_images **images)
{
  syz_images *m = *images;
  if (!m) return;
  for (int i = 0; i < m->n; i++) {
    syz_free(&m->held[i].pixels);
    syz_wcs_destroy(&m->wcs[i]);
  }
  syz_fits_close(&m->file);
  syz_free(images);
}

int syz_images_count(const syz_images *m) { return m->n; }
const syz_plane *syz_images_plane(const syz_images *m, int i) { return &m->plane[i]; }
syz_wcs *syz_images_wcs(const syz_images *m, int i) { return m->wcs[i]; }

/* ---------------------------------------------------------------- cutouts */

static int compare_floats(const void *a, const void *b)
{
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* Median of the finite pixels after two rounds of clipping at 3 sigma (1.4826 x median deviation): the sky of an
 * instrumental image. */
static syz_status sky_level(const float *pixels, int64_t n, float *sky)
{
  syz_status st = SYZ_OK;
  float *x = NULL, *d = NULL;
  SYZ_ALLOC(x, "sky", n);
  SYZ_ALLOC(d, "sky", n);
  int64_t m = 0;
  for (int64_t i = 0; i < n; i++)
    if (isfinite(pixels[i])) x[m++] = pixels[i];
  *sky = 0;
  for (int round = 0; round < 3 && m > 0; round++) {
    qsort(x, (size_t)m, sizeof *x, compare_floats);
    *sky = x[m / 2];
    for (int64_t i = 0; i < m; i++) d[i] = fabsf(x[i] - *sky);
    qsort(d, (size_t)m, sizeof *d, compare_floats);
    float limit = 3 * 1.4826f * d[m / 2];
    int64_t kept = 0;
    for (int64_t i = 0; i < m; i++)
      if (fabsf(x[i] - *sky) <= limit) x[kept++] = x[i];
    m = kept;
  }
cleanup:
  syz_free(&x);
  syz_free(&d);
  return st;
}

static bool is_held(const window *held, const window *want)
{
  return held->pixels && want->x >= held->x && want->y >= held->y && want->x + want->width <= held->x + held->width &&
         want->y + want->height <= held->y + held->height;
}

/* The range [from, end) along an axis: extended to whole blocks, so that it may also hold the next cutouts, and limited
 * to the image. */
static void stretch(double from, double end, int64_t size, int64_t *first, int64_t *n)
{
  const double low = fmin(fmax(from, 0), (double)size - 1), high = fmin(fmax(end, low + 1), (double)size);
  const int64_t block = (int64_t)low / WINDOW_BLOCK * WINDOW_BLOCK,
                last = ((int64_t)high + WINDOW_BLOCK) / WINDOW_BLOCK * WINDOW_BLOCK;
  *first = block;
  *n = (last < size ? last : size) - block;
}

/* The part of a plane that a cutout needs: the projection of its border (`to`: the output grid; NULL: the pixels
 * themselves around x, y), with a margin for the kernels and for the curvature of the map. A small plane is read whole,
 * and so is one whose sky has to be measured. */
static syz_status find_window(const syz_images *m, int i, syz_wcs *to, double x, double y, int size, window *w)
{
  syz_status st = SYZ_OK;
  const syz_plane *p = &m->plane[i];
  const double middle = (size - 1) / 2.0, edge[3] = {-1, middle, size};
  double u[9], v[9], low_x = x - middle - 2, high_x = x + middle + 2, low_y = y - middle - 2, high_y = y + middle + 2;
  *w = (window){NULL, 0, 0, p->width, p->height};
  if (p->width * p->height <= WHOLE_PIXELS || m->has_sky[i]) return SYZ_OK;
  if (to) {
    for (int k = 0; k < 9; k++) {
      u[k] = edge[k % 3];
      v[k] = edge[k / 3];
    }
    SYZ_TRY(syz_wcs_to_sky(to, 9, u, v, u, v));
    SYZ_TRY(syz_wcs_to_pixel(m->wcs[i], 9, u, v, u, v));
    for (int k = 0; k < 9; k++) {
      low_x = fmin(low_x, u[k]);
      high_x = fmax(high_x, u[k]);
      low_y = fmin(low_y, v[k]);
      high_y = fmax(high_y, v[k]);
    }
  }
  const double room = 16 + 0.1 * fmax(high_x - low_x, high_y - low_y);
  stretch(low_x - room, high_x + room, p->width, &w->x, &w->width);
  stretch(low_y - room, high_y + room, p->height, &w->y, &w->height);
cleanup:
  return st;
}

static syz_status load(syz_images *m, int i, const window *want)
{
  syz_status st = SYZ_OK;
  const syz_plane *p = &m->plane[i];
  window w = *want;
  char where[256];
  const int64_t n = w.width * w.height;
  if (is_held(&m->held[i], want)) return SYZ_OK;
  syz_free(&m->held[i].pixels);
  SYZ_REQUIRE(n <= (m->has_sky[i] ? SKY_PIXELS : WHOLE_PIXELS), SYZ_ERR_DATA,
              "%s: %lld x %lld pixels of %.3g arcsec are needed at once%s: at most %d can be read",
              syz_fits_where(m->file, p->hdu, where), (long long)w.width, (long long)w.height, p->pixel_arcsec,
              m->has_sky[i] ? " (instrumental units: the sky is measured on the whole image)" : "",
              m->has_sky[i] ? SKY_PIXELS : WHOLE_PIXELS);
  SYZ_ALLOC(w.pixels, "image plane", n);
  SYZ_TRY(syz_fits_read_window(m->file, p->hdu, p->first_pixel / (p->width * p->height), w.x, w.y, w.width, w.height,
                               w.pixels));
  /* The decoded copy inside the FITS reader is no longer needed, unless other planes of a cube follow. */
  if (syz_fits_get(m->file, p->hdu)->naxis == 2) syz_fits_forget(m->file, p->hdu);
  float sky = 0, factor = (float)p->factor;
  if (m->has_sky[i]) SYZ_TRY(sky_level(w.pixels, n, &sky));
  if (sky != 0 || factor != 1)
    for (int64_t k = 0; k < n; k++) w.pixels[k] = (w.pixels[k] - sky) * factor;
  for (int64_t k = 0; k < n; k++)
    if (fabsf(w.pixels[k]) > SYZ_VALUE_MAX) w.pixels[k] = (float)NAN; /* no value */
  m->held[i] = w;
  w.pixels = NULL;
cleanup:
  syz_free(&w.pixels);
  return st;
}

syz_status syz_images_cutout(syz_images *m, int i, double ra, double dec, int size, double pixel_arcsec, float *out,
                             double *covered)
{
  syz_status st = SYZ_OK;
  syz_wcs *to = NULL;
  window w;
  int64_t n = (int64_t)size * size, seen = 0;
  *covered = 0;
  syz_pulse();
  SYZ_REQUIRE(i >= 0 && i < m->n && size >= 1 && size <= 65536, SYZ_ERR_INTERNAL, "plane %d of %d, %d pixels", i, m->n,
              size);
  SYZ_REQUIRE(!syz_fault("image_cutout"), SYZ_ERR_MEMORY, "plane %d: injected failure", i);
  const syz_plane *p = &m->plane[i];
  bool is_copied = pixel_arcsec == 0 || (p->is_aligned && pixel_arcsec == SYZ_PIXEL_ARCSEC);
  double x, y, middle = (size - 1) / 2.0;
  SYZ_TRY(syz_wcs_to_pixel(m->wcs[i], 1, &ra, &dec, &x, &y));
  for (int64_t k = 0; k < n; k++) out[k] = (float)NAN;
  if (!(x > -1e6 && x < 1e7 && y > -1e6 && y < 1e7)) return SYZ_OK;
  double reach = is_copied ? size : size * pixel_arcsec / p->pixel_arcsec * 1.5 + 8;
  if (x < -reach || y < -reach || x > (double)p->width + reach || y > (double)p->height + reach) return SYZ_OK;
  if (!is_copied) SYZ_TRY(syz_wcs_create_tan(ra, dec, middle, middle, pixel_arcsec, &to));
  SYZ_TRY(find_window(m, i, to, x, y, size, &w));
  SYZ_TRY(load(m, i, &w));
  w = m->held[i];
  if (is_copied) {
    int64_t x0 = (int64_t)floor(x - middle + 0.5), y0 = (int64_t)floor(y - middle + 0.5);
    for (int64_t v = 0; v < size; v++)
      for (int64_t u = 0; u < size; u++)
        if (y0 + v >= 0 && y0 + v < p->height && x0 + u >= 0 && x0 + u < p->width)
          out[v * size + u] = w.pixels[(y0 + v - w.y) * w.width + x0 + u - w.x];
  } else {
    SYZ_TRY(syz_resample(w.pixels, w.width, w.height, w.x, w.y, m->wcs[i], to, size, m->options.resampling, 1, out));
  }
  for (int64_t k = 0; k < n; k++) {
    if (isfinite(out[k]))
      seen++;
    else
      out[k] = (float)NAN;
  }
  *covered = (double)seen / (double)n;
cleanup:
  syz_wcs_destroy(&to);
  return st;
}
