/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The sky room on the command line, for the Python references beside it: each subcommand reads real or made files and
 * writes raw little-endian numbers to standard output (text where said). Errors go to standard error as the message,
 * with the status as exit code.
 */
#include "syzygy/numbers.h"
#include "syzygy/sky.h"
#include "syzygy/spectra.h"
#include "../../src/sky/sky.h"
#include "../../src/spectra/spectra.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(const void *bytes, size_t n)
{
  if (fwrite(bytes, 1, n, stdout) != n) exit(9);
}

/* spectra PATH [exposures] [redshift=PATH]: text table on stderr-free stdout: id ra dec z zwarn fiberstatus objtype
 * spectype; then "--" and pixels. */
static syz_status spectra(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  syz_spectra *s = NULL;
  float *flux = NULL, *ivar = NULL;
  syz_spectra_options o = {true, false, false, 0};
  const char *redshift = NULL;
  for (int i = 3; i < argc; i++) {
    if (!strcmp(argv[i], "exposures")) o.keeps_exposures = true;
    if (!strcmp(argv[i], "air")) o.is_air = true;
    if (!strncmp(argv[i], "redshift=", 9)) redshift = argv[i] + 9;
  }
  SYZ_TRY(syz_spectra_open(argv[2], &o, &s));
  int64_t joined = 0;
  if (redshift) SYZ_TRY(syz_spectra_join_redshifts(s, redshift, &joined));
  int64_t n = syz_spectra_count(s);
  SYZ_ALLOC(flux, "test", SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(ivar, "test", SYZ_SPECTRUM_PIXELS);
  printf("%s\n%" PRId64 "\n", syz_spectra_kind(s), n);
  for (int64_t i = 0; i < n; i++) {
    const syz_spectrum_info *p = syz_spectra_info(s, i);
    printf("%" PRId64 " %.17g %.17g %.17g %" PRId64 " %" PRId64 " %s %s %.9g\n", p->object_id, p->ra, p->dec,
           p->redshift, p->zwarn, p->fiberstatus, p->objtype, p->spectype[0] ? p->spectype : "-",
           syz_spectra_column(s, i, "DELTACHI2"));
  }
  for (int64_t i = 0; i < n; i++) {
    SYZ_TRY(syz_spectra_read(s, i, flux, ivar));
    put(flux, SYZ_SPECTRUM_PIXELS * sizeof *flux);
    put(ivar, SYZ_SPECTRUM_PIXELS * sizeof *ivar);
  }
cleanup:
  syz_free(&flux);
  syz_free(&ivar);
  syz_spectra_close(&s);
  return st;
}

/* images PATH [key=value...]: text: n, then band width height arcsec aligned ra dec factor. */
static syz_images_options image_options(int argc, char **argv)
{
  syz_images_options o = {true, SYZ_RESAMPLE_AUTO, 0, "", "", ""};
  for (int i = 3; i < argc; i++) {
    if (!strncmp(argv[i], "per=", 4)) o.value_per_pixel_arcsec = atof(argv[i] + 4);
    if (!strncmp(argv[i], "unit=", 5)) o.unit = argv[i] + 5;
    if (!strncmp(argv[i], "bands=", 6)) o.bands = argv[i] + 6;
    if (!strncmp(argv[i], "zero=", 5)) o.zero_points = argv[i] + 5;
    if (!strcmp(argv[i], "how=area")) o.resampling = SYZ_RESAMPLE_AREA;
    if (!strcmp(argv[i], "how=lanczos")) o.resampling = SYZ_RESAMPLE_LANCZOS;
  }
  return o;
}

static syz_status images(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  syz_images *m = NULL;
  syz_images_options o = image_options(argc, argv);
  SYZ_TRY(syz_images_open(argv[2], &o, &m));
  printf("%d\n", syz_images_count(m));
  for (int i = 0; i < syz_images_count(m); i++) {
    const syz_plane *p = syz_images_plane(m, i);
    printf("%d %" PRId64 " %" PRId64 " %.12g %d %.12f %.12f %.12g\n", p->band, p->width, p->height, p->pixel_arcsec,
           p->is_aligned, p->ra, p->dec, p->factor);
  }
cleanup:
  syz_images_close(&m);
  return st;
}

/* cutout PATH plane=I ra=.. dec=.. size=.. arcsec=..: raw float32, the covered share on stderr. */
static syz_status cutout(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  syz_images *m = NULL;
  float *out = NULL;
  syz_images_options o = image_options(argc, argv);
  int plane = 0, size = SYZ_IMAGE_SIZE;
  double ra = NAN, dec = NAN, arcsec = SYZ_PIXEL_ARCSEC, covered = 0;
  for (int i = 3; i < argc; i++) {
    if (!strncmp(argv[i], "plane=", 6)) plane = atoi(argv[i] + 6);
    if (!strncmp(argv[i], "size=", 5)) size = atoi(argv[i] + 5);
    if (!strncmp(argv[i], "ra=", 3)) ra = atof(argv[i] + 3);
    if (!strncmp(argv[i], "dec=", 4)) dec = atof(argv[i] + 4);
    if (!strncmp(argv[i], "arcsec=", 7)) arcsec = atof(argv[i] + 7);
  }
  SYZ_TRY(syz_images_open(argv[2], &o, &m));
  SYZ_REQUIRE(plane < syz_images_count(m), SYZ_ERR_INPUT, "plane %d of %d", plane, syz_images_count(m));
  if (isnan(ra)) {
    ra = syz_images_plane(m, plane)->ra;
    dec = syz_images_plane(m, plane)->dec;
  }
  SYZ_ALLOC(out, "test", size * size);
  SYZ_TRY(syz_images_cutout(m, plane, ra, dec, size, arcsec, out, &covered));
  put(out, (size_t)size * (size_t)size * sizeof *out);
cleanup:
  syz_free(&out);
  syz_images_close(&m);
  return st;
}

/* wcs PATH HDU sky|pixel: pairs of float64 on stdin to pairs on stdout. */
static syz_status wcs(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  syz_fits *f = NULL;
  syz_wcs *w = NULL;
  double *in = NULL;
  enum { ROOM = 100000 };
  int n_cards = 0, hdu = argc > 3 ? atoi(argv[3]) : 0;
  SYZ_TRY(syz_fits_open(argv[2], false, &f));
  const char *cards = syz_fits_header(f, hdu, &n_cards);
  SYZ_TRY(syz_wcs_create(cards, n_cards, argv[2], &w));
  SYZ_ALLOC(in, "test", 4 * ROOM);
  int64_t n = (int64_t)(fread(in, 2 * sizeof *in, ROOM, stdin));
  double *a = in + 2 * ROOM, *b = in + 3 * ROOM;
  for (int64_t i = 0; i < n; i++) {
    a[i] = in[2 * i];
    b[i] = in[2 * i + 1];
  }
  if (argc > 4 && !strcmp(argv[4], "sky"))
    SYZ_TRY(syz_wcs_to_sky(w, n, a, b, a, b));
  else
    SYZ_TRY(syz_wcs_to_pixel(w, n, a, b, a, b));
  for (int64_t i = 0; i < n; i++) {
    in[2 * i] = a[i];
    in[2 * i + 1] = b[i];
  }
  put(in, (size_t)n * 2 * sizeof *in);
cleanup:
  syz_free(&in);
  syz_wcs_destroy(&w);
  syz_fits_close(&f);
  return st;
}

/* image PATH HDU: text "naxis shape...", then raw float64. u32: raw uint32 instead. */
static syz_status image(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  syz_fits *f = NULL;
  double *out = NULL;
  uint32_t *whole = NULL;
  SYZ_TRY(syz_fits_open(argv[2], true, &f));
  int hdu =
      argc > 3 && argv[3][0] >= '0' && argv[3][0] <= '9' ? atoi(argv[3]) : syz_fits_find(f, argc > 3 ? argv[3] : "");
  SYZ_REQUIRE(hdu >= 0 && hdu<syz_fits_count(f), SYZ_ERR_DATA, "%s: no HDU %s", argv[2], argc> 3 ? argv[3] : "");
  int64_t n = syz_fits_get(f, hdu)->pixels;
  if (argc > 4) {
    SYZ_ALLOC(whole, "test", n);
    SYZ_TRY(syz_fits_read_u32(f, hdu, 0, n, whole));
    put(whole, (size_t)n * sizeof *whole);
  } else {
    SYZ_ALLOC(out, "test", n);
    SYZ_TRY(syz_fits_read_f64(f, hdu, 0, n, out));
    put(out, (size_t)n * sizeof *out);
  }
cleanup:
  syz_free(&out);
  syz_free(&whole);
  syz_fits_close(&f);
  return st;
}

/* column PATH HDU NAME [i64]: raw float64 or int64 of item 0. */
static syz_status column(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  syz_fits *f = NULL;
  double *out = NULL;
  int64_t *whole = NULL;
  SYZ_REQUIRE(argc > 4, SYZ_ERR_INPUT, "column PATH HDU NAME");
  SYZ_TRY(syz_fits_open(argv[2], true, &f));
  int hdu = atoi(argv[3]);
  SYZ_REQUIRE(hdu < syz_fits_count(f), SYZ_ERR_DATA, "%s: no HDU %d", argv[2], hdu);
  SYZ_TRY(syz_fits_require(f, hdu, argv[4]));
  int64_t n = syz_fits_get(f, hdu)->rows;
  if (argc > 5) {
    SYZ_ALLOC(whole, "test", n);
    SYZ_TRY(syz_fits_column_i64(f, hdu, syz_fits_field_find(f, hdu, argv[4]), 0, 0, n, whole));
    put(whole, (size_t)n * sizeof *whole);
  } else {
    SYZ_ALLOC(out, "test", n);
    SYZ_TRY(syz_fits_column_f64(f, hdu, syz_fits_field_find(f, hdu, argv[4]), 0, 0, n, out));
    put(out, (size_t)n * sizeof *out);
  }
cleanup:
  syz_free(&out);
  syz_free(&whole);
  syz_fits_close(&f);
  return st;
}

/* list PATH: text, one HDU a line; every image and column is read, so a damaged file is found. */
static syz_status list(char **argv)
{
  syz_status st = SYZ_OK;
  syz_fits *f = NULL;
  double *out = NULL;
  SYZ_TRY(syz_fits_open(argv[2], true, &f));
  for (int h = 0; h < syz_fits_count(f); h++) {
    const syz_fits_hdu *d = syz_fits_get(f, h);
    printf("%d '%s' %d %d %" PRId64 " %" PRId64 " %d\n", h, d->name, d->kind, d->bitpix, d->pixels, d->rows,
           d->columns);
    if (d->kind == SYZ_FITS_IMAGE || d->kind == SYZ_FITS_COMPRESSED) {
      SYZ_ALLOC(out, "test", d->pixels + 1);
      SYZ_TRY(syz_fits_read_f64(f, h, 0, d->pixels, out));
      syz_free(&out);
    }
    for (int c = 0; d->kind == SYZ_FITS_TABLE && c < d->columns; c++)
      if (strchr("LBIJKED", syz_fits_field_get(f, h, c)->type) && syz_fits_field_get(f, h, c)->repeat > 0) {
        SYZ_ALLOC(out, "test", d->rows + 1);
        SYZ_TRY(syz_fits_column_f64(f, h, c, 0, 0, d->rows, out));
        syz_free(&out);
      }
  }
cleanup:
  syz_free(&out);
  syz_fits_close(&f);
  return st;
}

/* rows PATH HDU: an image row by row, as readers of spectra do; goes on over rows that fail and ends with the last
 * failure. */
static syz_status rows(int argc, char **argv)
{
  syz_status st = SYZ_OK, worst = SYZ_OK;
  syz_fits *f = NULL;
  double *out = NULL;
  SYZ_TRY(syz_fits_open(argv[2], true, &f));
  const int hdu = argc > 3 ? atoi(argv[3]) : 1;
  SYZ_REQUIRE(hdu >= 0 && hdu < syz_fits_count(f) && syz_fits_get(f, hdu)->naxis == 2, SYZ_ERR_INPUT,
              "%s: no image in HDU %d", argv[2], hdu);
  const int64_t n = syz_fits_get(f, hdu)->shape[1];
  SYZ_ALLOC(out, "test", n);
  for (int64_t r = 0; r < syz_fits_get(f, hdu)->shape[0]; r++)
    if (syz_fits_read_f64(f, hdu, r * n, n, out) != SYZ_OK) worst = SYZ_ERR_DATA;
  st = worst;
cleanup:
  syz_free(&out);
  syz_fits_close(&f);
  return st;
}

/* write PATH: a file with every kind of HDU, for astropy to read back. */
static syz_status write_file(char **argv)
{
  syz_status st = SYZ_OK;
  syz_fits_out *o = NULL;
  enum { H = 230, W = 310, ROWS = 1000, E = 7 };
  float *image = NULL, *vector = NULL;
  int32_t *mask = NULL;
  int64_t *id = NULL;
  double *ra = NULL;
  char *name = NULL;
  uint8_t *flag = NULL;
  int16_t *small = NULL;
  SYZ_ALLOC(image, "test", H * W);
  SYZ_ALLOC(mask, "test", H * W);
  SYZ_ALLOC(vector, "test", ROWS * E);
  SYZ_ALLOC(id, "test", ROWS);
  SYZ_ALLOC(ra, "test", ROWS);
  SYZ_ALLOC(name, "test", ROWS * 5);
  SYZ_ALLOC(flag, "test", ROWS);
  SYZ_ALLOC(small, "test", ROWS);
  syz_random r = syz_random_make(7, SYZ_RANDOM_TEST, 0, 0);
  syz_random_fill_normal(&r, image, H * W);
  for (int i = 0; i < H * W; i++) {
    if (i % 13 == 0) image[i] = 0;
    mask[i] = i * 1000 - 12345;
  }
  for (int i = 0; i < ROWS; i++) {
    id[i] = 39627788403084375 + i;
    ra[i] = 359.999999 - i / 3.0;
    name[5 * i] = (char)('n'), snprintf(name + 5 * i + 1, 4, "%u", (unsigned)i % 1000u);
    flag[i] = i % 3 == 0;
    small[i] = (int16_t)(i - 500);
    for (int k = 0; k < E; k++) vector[i * E + k] = (float)(i + k * 0.25);
  }
  const int64_t shape[2] = {H, W};
  syz_fits_card wcs_cards[16];
  int n_wcs = syz_wcs_tan_cards(150.1, 2.2, 100.5, 99.5, SYZ_PIXEL_ARCSEC, wcs_cards);
  const syz_fits_card cards[] = {SYZ_CARD_TEXT("SURVEY", "it's a test", "quotes"),
                                 SYZ_CARD_REAL("PI", 3.141592653589793, NULL),
                                 SYZ_CARD_TEXT("LONG",
                                               "a text that is much longer than one card of eighty characters can "
                                               "hold, so it goes on and on and on in the next",
                                               NULL)};
  SYZ_TRY(syz_fits_create(argv[2], &o));
  SYZ_TRY(syz_fits_out_primary(o, cards, 3));
  SYZ_TRY(syz_fits_out_image(o, "PLAIN", -32, 2, shape, image, SYZ_FITS_PLAIN, wcs_cards, n_wcs));
  SYZ_TRY(syz_fits_out_image(o, "DITHER", -32, 2, shape, image, SYZ_FITS_RICE_DITHER, wcs_cards, n_wcs));
  SYZ_TRY(syz_fits_out_image(o, "RICE", -32, 2, shape, image, SYZ_FITS_RICE, NULL, 0));
  SYZ_TRY(syz_fits_out_image(o, "GZIP", -32, 2, shape, image, SYZ_FITS_GZIP, NULL, 0));
  SYZ_TRY(syz_fits_out_image(o, "MASK", 32, 2, shape, mask, SYZ_FITS_GZIP, NULL, 0));
  SYZ_TRY(syz_fits_out_image(o, "MASKRICE", 32, 2, shape, mask, SYZ_FITS_RICE, NULL, 0));
  const syz_fits_column columns[] = {
      {"TARGETID", 'K', 1, NULL, "identifier", id}, {"RA", 'D', 1, "deg", NULL, ra},
      {"NAME", 'A', 5, NULL, NULL, name},           {"FLAG", 'L', 1, NULL, NULL, flag},
      {"SMALL", 'I', 1, NULL, NULL, small},         {"VECTOR", 'E', E, "nanomaggy", NULL, vector}};
  SYZ_TRY(syz_fits_out_table(o, "TABLE", ROWS, columns, 6, NULL, 0));
  SYZ_TRY(syz_fits_out_finish(&o));
cleanup:
  syz_fits_out_destroy(&o);
  syz_free(&image);
  syz_free(&mask);
  syz_free(&vector);
  syz_free(&id);
  syz_free(&ra);
  syz_free(&name);
  syz_free(&flag);
  syz_free(&small);
  return st;
}

/* table PATH ROWS PARTS: the EMBEDDING table written by PARTS handles in interleaved blocks. */
static syz_status table(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  enum { E = 5, PARTS_MAX = 8 };
  syz_fits_table *t[PARTS_MAX] = {NULL};
  int64_t rows = argc > 3 ? atoll(argv[3]) : 10;
  int parts = argc > 4 ? atoi(argv[4]) : 1;
  const syz_fits_column columns[] = {{"TARGETID", 'K', 1, NULL, NULL, NULL},
                                     {"RA", 'D', 1, "deg", NULL, NULL},
                                     {"ODD", 'B', 3, NULL, NULL, NULL},
                                     {"SPECTRUM_EMBEDDING", 'E', E, NULL, "spectrum tower", NULL}};
  SYZ_TRY(syz_fits_table_create(argv[2], "EMBEDDING", rows, columns, 4, NULL, 0, &t[0]));
  for (int p = 1; p < parts; p++)
    SYZ_TRY(syz_fits_table_attach(argv[2], "EMBEDDING", rows, columns, 4, NULL, 0, &t[p]));
  for (int64_t r = rows - 1; r >= 0; r--) { /* backwards, one row each: any order must do */
    int64_t id = r * 1000003;
    double ra = (double)r / 7;
    uint8_t odd[3] = {(uint8_t)r, 2, 255};
    float e[E];
    for (int k = 0; k < E; k++) e[k] = (float)(r * E + k);
    const void *data[4] = {&id, &ra, odd, e};
    SYZ_TRY(syz_fits_table_put(t[r % parts], r, 1, data));
  }
  uint64_t sum = 0;
  for (int p = 0; p < parts; p++) sum += syz_fits_table_sum(t[p]);
  SYZ_TRY(syz_fits_table_finish(&t[0], sum));
cleanup:
  for (int p = 0; p < PARTS_MAX; p++) syz_fits_table_close(&t[p]);
  return st;
}

int main(int argc, char **argv)
{
  syz_status st = SYZ_ERR_INPUT;
  if (argc < 3) return 2;
  if (!strcmp(argv[1], "spectra")) st = spectra(argc, argv);
  if (!strcmp(argv[1], "images")) st = images(argc, argv);
  if (!strcmp(argv[1], "cutout")) st = cutout(argc, argv);
  if (!strcmp(argv[1], "wcs")) st = wcs(argc, argv);
  if (!strcmp(argv[1], "image")) st = image(argc, argv);
  if (!strcmp(argv[1], "column")) st = column(argc, argv);
  if (!strcmp(argv[1], "list")) st = list(argv);
  if (!strcmp(argv[1], "rows")) st = rows(argc, argv);
  if (!strcmp(argv[1], "write")) st = write_file(argv);
  if (!strcmp(argv[1], "table")) st = table(argc, argv);
  if (st != SYZ_OK) fprintf(stderr, "%s\n", syz_error_text());
  if (syz_memory_get().live_blocks) {
    fprintf(stderr, "%lld blocks of memory are still held\n", (long long)syz_memory_get().live_blocks);
    return 11;
  }
  return (int)st;
}
