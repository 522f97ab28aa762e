/* SPDX-License-Identifier: BSD-3-Clause */
/** Pieces of the sky room against plain versions: colour map, nearest on the sky against brute force, air to vacuum,
 * identifiers, misuse. */
#include "check.h"
#include "syzygy/numbers.h"
#include "syzygy/sky.h"
#include "syzygy/spectra.h"
#include "../../src/sky/sky.h"
#include "../../src/spectra/spectra.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_colour_map(void)
{
  enum { N = 5003 };
  float *image = syz_alloc("test", 3 * N, sizeof *image), *planes = syz_alloc("test", 3 * N, sizeof *planes);
  syz_random r = syz_random_make(1, SYZ_RANDOM_TEST, 0, 0);
  double worst = 0, worst_faulty = 0;
  for (int i = 0; i < N; i++)
    for (int b = 0; b < 3; b++) /* faint, bright, negative, and all-negative pixels */
      image[b * N + i] = (float)(syz_random_normal(&r, (uint32_t)(3 * i + b)) * pow(10, -4 + i % 8) - (i % 5 == 0));
  image[0] = image[N] = image[2 * N] = 3e38f;
  syz_colour_map(planes, image, N);
  const double s[3] = {6.0, 3.4, 2.2}, m = 0.03, Q = 20;
  for (int i = 0; i < N; i++) {
    double I = 0;
    for (int b = 0; b < 3; b++) I += fmax(0, s[b] * (double)image[b * N + i] + m) / 3;
    double f = asinh(Q * I) / sqrt(Q);
    for (int b = 0; b < 3; b++) {
      double want = fmin(1, fmax(0, (s[b] * (double)image[b * N + i] + m) * f / (I > 0 ? I : 1e-6)));
      if (i == 0) continue; /* beyond float32: only finite and in range */
      worst = fmax(worst, fabs((double)planes[(2 - b) * N + i] - want));
      worst_faulty = fmax(worst_faulty, fabs((double)planes[(2 - b) * N + i] - 1.01 * want));
    }
    for (int b = 0; b < 3; b++) CHECK(planes[b * N + i] >= 0 && planes[b * N + i] <= 1);
  }
  CHECK_LT(worst, 1e-6);
  CHECK_GT(worst_faulty, 1e-6);
  syz_free(&image);
  syz_free(&planes);
}

static void test_skytree(void)
{
  enum { N = 3000, M = 400 };
  double *ra = syz_alloc("test", N, sizeof *ra), *dec = syz_alloc("test", N, sizeof *dec);
  syz_random r = syz_random_make(2, SYZ_RANDOM_TEST, 0, 0);
  for (int i = 0; i < N; i++) {
    ra[i] = 360 * syz_random_uniform(&r, (uint32_t)(4 * i));
    dec[i] = asin(2 * syz_random_uniform(&r, (uint32_t)(4 * i + 1)) - 1) * 57.29577951308232;
  }
  for (int i = 0; i < 300; i++) { /* crowds at a pole and across RA = 0 */
    dec[i] = 89.9 + 0.1 * syz_random_uniform(&r, (uint32_t)(4 * i + 2));
    ra[300 + i] = fmod(359.9 + 0.2 * syz_random_uniform(&r, (uint32_t)(4 * i + 2)), 360);
    dec[300 + i] = 0.2 * syz_random_uniform(&r, (uint32_t)(4 * i + 3));
  }
  ra[N - 1] = NAN;
  ra[N - 2] = ra[10]; /* a double: the lower number is found */
  dec[N - 2] = dec[10];
  syz_skytree *t = NULL;
  CHECK_OK(syz_skytree_create(N, ra, dec, &t));
  int found = 0, missed = 0;
  for (int k = 0; k < M; k++) {
    double a = fmod(ra[k * 7 % (N - 2)] + 0.02 * syz_random_normal(&r, (uint32_t)(20000 + 2 * k)) + 360, 360);
    double d = fmin(90, fmax(-90, dec[k * 7 % (N - 2)] + 0.02 * syz_random_normal(&r, (uint32_t)(20001 + 2 * k))));
    double radius = k % 3 ? 0.01 : 5, best = radius, separation = -1;
    int64_t want = -1;
    for (int64_t i = 0; i < N; i++) {
      double s = syz_separation(a, d, ra[i], dec[i]);
      if (s < best) {
        best = s;
        want = i;
      }
    }
    int64_t got = syz_skytree_nearest(t, a, d, radius, &separation);
    CHECK_EQ(got, want);
    if (want >= 0) {
      CHECK_NEAR(separation, best, 1e-9 + 1e-7 * best);
      found++;
    } else {
      missed++;
    }
  }
  CHECK_GT(found, 100);
  CHECK_GT(missed, 50);
  CHECK_EQ(syz_skytree_nearest(t, ra[N - 2], dec[N - 2], 1e-6, NULL), 10);
  CHECK_EQ(syz_skytree_nearest(t, NAN, 0, 180, NULL), -1);
  CHECK_EQ(syz_skytree_nearest(t, 0, -90, 180, NULL) >= 0, 1);
  syz_skytree_destroy(&t);
  CHECK_OK(syz_skytree_create(0, ra, dec, &t));
  CHECK_EQ(syz_skytree_nearest(t, 0, 0, 180, NULL), -1);
  syz_skytree_destroy(&t);
  CHECK_NEAR(syz_separation(0, 90, 180, 89), 1, 1e-12);
  CHECK_NEAR(syz_separation(359.9999, 0, 0.0001, 0), 2e-4, 1e-12);
  syz_free(&ra);
  syz_free(&dec);
}

typedef struct found {
  int64_t n, last;
  uint64_t sum; /* of hashed numbers: each once, in any order */
} found;

static bool count_found(void *context, int64_t number)
{
  found *f = context;
  f->n++;
  f->last = number;
  f->sum += syz_checksum(&number, sizeof number, 0);
  return f->n < 1000000;
}

static bool stop_at_once(void *context, int64_t number)
{
  count_found(context, number);
  return false;
}

/* Everything within a radius, against all pairs; in crowds at a pole, across RA = 0 and in the open. */
static void test_within(void)
{
  enum { N = 2000 };
  double *ra = syz_alloc("test", N, sizeof *ra), *dec = syz_alloc("test", N, sizeof *dec);
  syz_random r = syz_random_make(5, SYZ_RANDOM_TEST, 0, 0);
  for (int i = 0; i < N; i++) {
    double u = syz_random_uniform(&r, (uint32_t)(2 * i)), v = syz_random_uniform(&r, (uint32_t)(2 * i + 1));
    ra[i] = i % 3 == 0 ? 360 * u : fmod(359.9 + 0.2 * u, 360);
    dec[i] = i % 3 == 0 ? 89.9 + 0.1 * v : i % 3 == 1 ? 0.2 * v : 0.2 * v + 45;
  }
  syz_skytree *t = NULL;
  CHECK_OK(syz_skytree_create(N, ra, dec, &t));
  int64_t total = 0;
  for (int k = 0; k < 300; k++) {
    double radius = k % 2 ? 0.01 : 0.05;
    found got = {0}, want = {0};
    syz_skytree_within(t, ra[k], dec[k], radius, count_found, &got);
    for (int64_t i = 0; i < N; i++)
      if (syz_separation(ra[k], dec[k], ra[i], dec[i]) <= radius) count_found(&want, i);
    total += want.n;
    CHECK(got.n == want.n && got.sum == want.sum);
  }
  CHECK_GT((double)total, 3000);
  found one = {0};
  syz_skytree_within(t, ra[0], dec[0], 180, stop_at_once, &one);
  CHECK_EQ(one.n, 1);
  double separation, chord2;
  CHECK(syz_skytree_nearest(t, ra[7], dec[7] + 1e-3, 1, &separation) ==
        syz_skytree_search(t, ra[7], dec[7] + 1e-3, 1, &chord2));
  CHECK_NEAR(2 * asin(sqrt(chord2) / 2) * 57.29577951308232, separation, 1e-12);
  syz_skytree_destroy(&t);
  syz_free(&ra);
  syz_free(&dec);
}

static void mark_cell(void *context, int32_t cell)
{
  uint8_t *mark = context;
  CHECK(cell >= 0 && cell < SYZ_CELLS && mark[cell] < 255);
  if (cell >= 0 && cell < SYZ_CELLS) mark[cell]++;
}

/* Positions within a disc lie in the cells around it, also at the poles and across RA = 0; each cell is met once. */
static void test_cells(void)
{
  uint8_t *mark = syz_alloc("test", SYZ_CELLS, 1);
  syz_random r = syz_random_make(6, SYZ_RANDOM_TEST, 0, 0);
  static const double place[][2] = {{0, 0},   {359.9999, 0.2499}, {10, 89.9},   {200, -89.999},
                                    {77, 90}, {123.4, -45.25},    {0.0001, 60}, {180, 88}};
  int outside = 0;
  for (uint32_t k = 0; k < 8 * 60; k++) {
    double ra = place[k % 8][0], dec = place[k % 8][1],
           radius = k % 5 == 0   ? 1.0 / 3600
                    : k % 5 == 1 ? 0.3
                    : k % 5 == 2 ? 1
                    : k % 5 == 3 ? 5
                                 : 1e-9;
    if (k % 7 < 5) continue;
    memset(mark, 0, SYZ_CELLS);
    syz_cells_around(ra, dec, radius, mark_cell, mark);
    for (int c = 0; c < SYZ_CELLS; c++)
      if (mark[c] > 1) outside++;
    for (uint32_t i = 0; i < 400; i++) { /* towards every side, up to the rim */
      double angle = 2 * 3.14159265358979 * syz_random_uniform(&r, 800 * k + 2 * i),
             away = radius * (i % 4 ? 1 - 1e-12 : syz_random_uniform(&r, 800 * k + 2 * i + 1));
      double d = away / 57.29577951308232, sin_dec = sin(dec / 57.29577951308232),
             cos_dec = cos(dec / 57.29577951308232);
      double s = sin_dec * cos(d) + cos_dec * sin(d) * cos(angle);
      double dec2 = asin(fmax(-1, fmin(1, s))) * 57.29577951308232;
      double ra2 = ra + atan2(sin(angle) * sin(d) * cos_dec, cos(d) - sin_dec * s) * 57.29577951308232;
      outside += !mark[syz_cell_of(ra2, dec2)];
    }
  }
  CHECK_EQ(outside, 0);
  CHECK(syz_cell_of(360, 0) == syz_cell_of(0, 0) && syz_cell_of(-0.5, 10) == syz_cell_of(359.5, 10) &&
        syz_cell_of(720, 90) >= 0);
  memset(mark, 0, SYZ_CELLS);
  syz_cells_around(150, 0, 1.0 / 3600, mark_cell, mark);
  int met = 0;
  for (int c = 0; c < SYZ_CELLS; c++) met += mark[c];
  CHECK(met >= 1 && met <= 4); /* not the whole sky */
  syz_free(&mark);
}

/* Which imaging the surveys keep; Galactic latitudes by astropy 5.2. */
static void test_resolve(void)
{
  int32_t brick;
  CHECK(syz_photsys(syz_targetid(9011, 635727, 622), &brick) == 'N' && brick == 635727);
  CHECK(syz_photsys(syz_targetid(9010, 1, 0), &brick) == 'S' &&
        syz_photsys(syz_targetid(10002, SYZ_BRICKS, 1), &brick) == 'S' && brick == SYZ_BRICKS);
  CHECK(syz_photsys(syz_targetid(9999, 5, 1), &brick) == 0 && syz_photsys(syz_targetid(9010, 0, 1), &brick) == 0 &&
        brick == 0);
  CHECK(syz_photsys(-1, &brick) == 0 && syz_photsys(1237651752927494314, &brick) == 0 &&
        syz_photsys(616094145466860255, &brick) == 0);
  CHECK_NEAR(syz_galactic_latitude(150.1, 32.5), 52.759677, 1e-4);
  CHECK_NEAR(syz_galactic_latitude(10, 33), -29.810360, 1e-4);
  CHECK_NEAR(syz_galactic_latitude(266.4051, -28.936175), 0, 1e-4);
  CHECK(syz_photsys_kept(150.1, 32.375) == 'N' && syz_photsys_kept(150.1, 32.374) == 'S' &&
        syz_photsys_kept(10, 33) == 'S');
}

static void test_small(void)
{
  CHECK(syz_targetid(9011, 635727, 622) == 39633463543857774); /* src/sky/README.md "Identifiers" */
  CHECK(syz_targetid_is_sky(-1695072) && syz_targetid_is_sky(616094145466860255) &&
        !syz_targetid_is_sky(39633300968442591));
  CHECK(syz_sdss_id(266, 51630, 367) == 266516300367);
  CHECK_NEAR(syz_air_to_vacuum(5006.843), 5008.240, 0.002); /* NIST [O III] */
  CHECK_NEAR(syz_air_to_vacuum(6562.79), 6564.60, 0.01);
  CHECK_EQ(syz_wave_grid(7780), 9824.0);
  float flux[SYZ_SPECTRUM_PIXELS] = {0}, ivar[SYZ_SPECTRUM_PIXELS] = {0};
  char reason[160];
  double good;
  CHECK(!syz_spectrum_fault(flux, ivar, &good, reason) && good == 0);
  ivar[3] = 1;
  CHECK(syz_spectrum_fault(flux, ivar, &good, reason) && strstr(syz_spectrum_fault(flux, ivar, &good, reason), "zero"));
  flux[3] = NAN;
  CHECK(strstr(syz_spectrum_fault(flux, ivar, &good, reason), "3602.4 A") != NULL);
  double wave[3] = {4000, 4001, 4000.5}, ones[3] = {1, 1, 1};
  CHECK_ERROR(syz_spectrum_resample(3, wave, ones, ones, "here", flux, ivar), SYZ_ERR_DATA, "do not increase");
  double far[3] = {14000, 14001, 14002};
  CHECK_ERROR(syz_spectrum_resample(3, far, ones, ones, "here", flux, ivar), SYZ_ERR_DATA, "does not overlap");
  syz_wcs *w = NULL;
  CHECK_ERROR(syz_wcs_create(NULL, 0, "empty header", &w), SYZ_ERR_DATA, "empty header: no WCS");
  CHECK_OK(syz_wcs_create_tan(10, 20, 75.5, 75.5, SYZ_PIXEL_ARCSEC, &w));
  CHECK(syz_wcs_is_aligned(w, 0.262) && !syz_wcs_is_aligned(w, 0.263));
  double ra[2] = {10, NAN}, dec[2] = {20, 0}, x[2], y[2];
  CHECK_OK(syz_wcs_to_pixel(w, 2, ra, dec, x, y));
  CHECK_NEAR(x[0], 75.5, 1e-9);
  CHECK(isnan(x[1]));
  syz_wcs_destroy(&w);
}

/* A pixel without weight has no say where arms overlap, whatever it holds; the other arm's value stands. */
static void test_join(void)
{
  enum { FIRST = 4500, SECOND = 4000, LENGTH = SYZ_SPECTRUM_PIXELS - SECOND };
  double *wave = syz_alloc("test", SYZ_SPECTRUM_PIXELS, sizeof *wave);
  float *in = syz_alloc("test", 4 * SYZ_SPECTRUM_PIXELS, sizeof *in), *flux = in + 2 * SYZ_SPECTRUM_PIXELS,
        *ivar = flux + SYZ_SPECTRUM_PIXELS;
  float *a = in, *b = in + FIRST, *weight = syz_alloc("test", 2 * SYZ_SPECTRUM_PIXELS, sizeof *weight), *wa = weight,
        *wb = weight + FIRST;
  for (int i = 0; i < SYZ_SPECTRUM_PIXELS; i++) wave[i] = syz_wave_grid(i);
  for (int i = 0; i < FIRST; i++) a[i] = 2, wa[i] = 1;
  for (int i = 0; i < LENGTH; i++) b[i] = 5, wb[i] = 3;
  a[4100] = NAN, wa[4100] = 0;
  b[200] = NAN, wb[200] = 0; /* pixel 4200 */
  const syz_arm arm[2] = {{FIRST, wave, a, wa}, {LENGTH, wave + SECOND, b, wb}};
  CHECK_OK(syz_spectrum_join(2, arm, "test", flux, ivar));
  CHECK_NEAR((double)flux[4000], 4.25, 1e-6); /* (2 + 3 x 5) / 4 */
  CHECK_NEAR((double)ivar[4000], 4, 0);
  CHECK_NEAR((double)flux[4100], 5, 1e-6);
  CHECK_NEAR((double)ivar[4100], 3, 0);
  CHECK_NEAR((double)flux[4200], 2, 1e-6);
  CHECK_NEAR((double)ivar[4200], 1, 0);
  syz_free(&wave);
  syz_free(&in);
  syz_free(&weight);
}

/* A table of 10^15 rows of no bytes fits into any file; nobody may ask memory for them. */
static void test_rows_without_bytes(void)
{
  static const char *const card[] = {"SIMPLE  =                    T",
                                     "BITPIX  =                    8",
                                     "NAXIS   =                    0",
                                     "END",
                                     NULL,
                                     "XTENSION= 'BINTABLE'",
                                     "BITPIX  =                    8",
                                     "NAXIS   =                    2",
                                     "NAXIS1  =                    0",
                                     "NAXIS2  =     1000000000000000",
                                     "PCOUNT  =                    0",
                                     "GCOUNT  =                    1",
                                     "TFIELDS =                    2",
                                     "TTYPE1  = 'TARGETID'",
                                     "TFORM1  = '0K'",
                                     "TTYPE2  = 'Z'",
                                     "TFORM2  = '0D'",
                                     "END"};
  char bytes[2 * 2880], path[] = "/tmp/syzygy-test-XXXXXX";
  memset(bytes, ' ', sizeof bytes);
  size_t at = 0;
  for (size_t i = 0; i < sizeof card / sizeof *card; i++, at += 80) {
    if (!card[i])
      at = 2880 - 80;
    else
      memcpy(bytes + at, card[i], strlen(card[i]));
  }
  int fd = mkstemp(path);
  CHECK(fd >= 0 && write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
  close(fd);
  int64_t n;
  syz_redshift *z = NULL;
  CHECK_ERROR(syz_redshifts_read(path, false, "", &n, &z), SYZ_ERR_DATA, "TARGETID has 0 items");
  unlink(path);
}

int main(void)
{
  test_join();
  test_rows_without_bytes();
  test_colour_map();
  test_skytree();
  test_within();
  test_cells();
  test_resolve();
  test_small();
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
