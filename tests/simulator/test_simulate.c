/* SPDX-License-Identifier: BSD-3-Clause */
/** The simulator against what must be true of it: purity, lines at their wavelengths, conserved flux, noise as stated,
 * identifiers. */
#include <stdlib.h>

#include "check.h"
#include "syzygy/simulator.h"
#include "../../src/simulator/photometry.h"

enum { IMAGE = SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE };

typedef struct buffers {
  float image[IMAGE], spectrum[SYZ_SPECTRUM_PIXELS], ivar[SYZ_SPECTRUM_PIXELS], arm_flux[SYZ_ARM_PIXELS],
      arm_ivar[SYZ_ARM_PIXELS], model[SYZ_SIM_WAVES];
  uint8_t segment[SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE];
  syz_sim_object o;
} buffers;

static void point(buffers *b)
{
  memset(&b->o, 0, sizeof b->o);
  b->o.image = b->image;
  b->o.segment = b->segment;
  b->o.spectrum = b->spectrum;
  b->o.ivar = b->ivar;
  b->o.arm_flux = b->arm_flux;
  b->o.arm_ivar = b->arm_ivar;
  b->o.model = b->model;
}

static bool same(const buffers *a, const buffers *b)
{
  return !memcmp(a->image, b->image, sizeof a->image) && !memcmp(a->spectrum, b->spectrum, sizeof a->spectrum) &&
         !memcmp(a->ivar, b->ivar, sizeof a->ivar) && !memcmp(a->arm_flux, b->arm_flux, sizeof a->arm_flux) &&
         !memcmp(a->segment, b->segment, sizeof a->segment) && !memcmp(a->o.label, b->o.label, sizeof a->o.label) &&
         a->o.object_id == b->o.object_id && a->o.ra == b->o.ra && a->o.dec == b->o.dec;
}

static void test_purity(buffers *a, buffers *b)
{
  syz_sim_config c = syz_sim_config_default();
  syz_simulator *s = NULL, *t = NULL;
  c.seed = 5;
  CHECK_OK(syz_simulator_create(&c, NULL, &s));
  CHECK_OK(syz_simulator_create(&c, NULL, &t));
  point(a);
  syz_simulator_make(s, 7, &a->o);
  for (int64_t i = 30; i > 7; i -= 9) {
    point(b);
    syz_simulator_make(t, i, &b->o);
    CHECK(!same(a, b));
  }
  int64_t before = syz_memory_get().allocations;
  point(b);
  syz_simulator_make(t, 7, &b->o);
  CHECK(same(a, b));
  CHECK_EQ(syz_memory_get().allocations - before, 0);
  syz_simulator_destroy(&t);
  c.seed = 6;
  CHECK_OK(syz_simulator_create(&c, NULL, &t));
  point(b);
  syz_simulator_make(t, 7, &b->o);
  CHECK(!same(a, b));
  /* What is not asked for changes nothing in the rest. */
  float kept = a->spectrum[4000];
  memset(&a->o, 0, sizeof a->o);
  a->o.spectrum = a->spectrum;
  syz_simulator_make(s, 7, &a->o);
  CHECK_EQ(a->spectrum[4000], kept);
  syz_simulator_destroy(&s);
  syz_simulator_destroy(&t);
}

/* Flux-weighted centre of what stands above the line through the window's ends. */
static double line_centre(const float *model, double wave_A, double half_A)
{
  int from = (int)((wave_A - half_A - SYZ_WAVE_FIRST_A) / SYZ_WAVE_STEP_A),
      to = (int)((wave_A + half_A - SYZ_WAVE_FIRST_A) / SYZ_WAVE_STEP_A);
  double sum = 0.0, moment = 0.0;
  for (int i = from; i <= to; i++) {
    double base = model[from] + (double)(model[to] - model[from]) * (i - from) / (to - from), x = model[i] - base;
    sum += x;
    moment += x * syz_wave_grid(i);
  }
  return moment / sum;
}

static void test_lines(buffers *b)
{
  syz_sim_config c = syz_sim_config_default();
  syz_simulator *s = NULL;
  int n = 0;
  double worst = 0.0, worst_shifted = 1e9;
  c.lrg_fraction = 0.0;
  CHECK_OK(syz_simulator_create(&c, NULL, &s));
  for (int64_t i = 0; i < 200 && n < 20; i++) {
    memset(&b->o, 0, sizeof b->o);
    b->o.model = b->model;
    syz_simulator_make(s, i, &b->o);
    double z = b->o.label[SYZ_SIM_redshift];
    /* Galaxies whose [O III] 5008 is strong and narrow; vacuum wavelength from NIST through fastspecfit. */
    if (b->o.label[SYZ_SIM_log_ssfr] < -9.8f || b->o.label[SYZ_SIM_oh12] > 8.5f ||
        b->o.label[SYZ_SIM_velocity_dispersion] > 120.0f)
      continue;
    double expected = 5008.24 * (1.0 + z), found = line_centre(b->model, expected, 9.0);
    worst = fmax(worst, fabs(found - expected));
    worst_shifted = fmin(worst_shifted, fabs(found - 1.01 * expected));
    n++;
  }
  fprintf(stderr, "[O III] 5008 in %d galaxies: worst error %.3f A\n", n, worst);
  CHECK_GT(n, 5);
  CHECK_LT(worst, 0.25); /* a third of a pixel; the underlying starlight is not flat */
  CHECK_GT(worst_shifted, 0.25);
  syz_simulator_destroy(&s);
}

static void test_flux(buffers *b)
{
  static double weight[SYZ_BANDS][SYZ_SIM_WAVES];
  syz_sim_config c = syz_sim_config_default();
  syz_simulator *s = NULL;
  int n = 0, wide = 0;
  double worst = 0.0, worst_integral = 0.0, least = 1.0, most = 0.0;
  c.image_noise = c.neighbours = c.artefacts = 0.0;
  for (int k = 0; k < SYZ_BANDS; k++)
    syz_photometry_weights(k, SYZ_WAVE_FIRST_A, SYZ_WAVE_STEP_A, SYZ_SIM_WAVES, weight[k]);
  CHECK_OK(syz_simulator_create(&c, NULL, &s));
  for (int64_t i = 0; i < 150; i++) {
    point(b);
    syz_simulator_make(s, i, &b->o);
    bool is_compact = b->o.label[SYZ_SIM_half_light_radius] < 1.2f && b->o.label[SYZ_SIM_is_merger] == 0.0f;
    for (int k = 0; k < SYZ_BANDS; k++) {
      double sum = 0.0, integral = syz_photometry_flux(weight[k], b->model, SYZ_SIM_WAVES);
      for (int p = 0; p < SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE; p++)
        sum += b->image[k * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE + p];
      worst_integral = fmax(worst_integral, fabs(b->o.flux[k] / integral - 1.0));
      CHECK_NEAR(b->o.label[SYZ_SIM_mag_g + k], 22.5 - 2.5 * log10(integral), 1e-3);
      if (is_compact) {
        worst = fmax(worst, fabs(sum / integral - 1.0));
        n++;
      } else {
        least = fmin(least, sum / integral);
        most = fmax(most, sum / integral);
        wide++;
      }
    }
  }
  fprintf(stderr,
          "image sum against integrated photometry: %d compact within %.2e, %d others from %.3f to %.4f; spectrum "
          "against parts %.1e\n",
          n, worst, wide, least, most, worst_integral);
  CHECK_GT(n, 50);
  CHECK_LT(worst, 1e-3);
  CHECK_LT(worst_integral, 1e-6);
  CHECK_LT(most, 1.0 + 1e-3); /* wider ones may lose light beyond the stamp, never gain */
  CHECK_GT(least, 0.5);
  syz_simulator_destroy(&s);
}

static void test_noise(buffers *b, buffers *clean)
{
  syz_sim_config c = syz_sim_config_default(), quiet = c;
  syz_simulator *s = NULL, *t = NULL;
  double sum = 0.0, squares = 0.0, joined = 0.0, image = 0.0;
  int64_t n = 0, n_joined = 0, n_image = 0, masked = 0;
  quiet.image_noise = quiet.spectrum_noise = 0.0;
  CHECK_OK(syz_simulator_create(&c, NULL, &s));
  CHECK_OK(syz_simulator_create(&quiet, NULL, &t));
  for (int64_t i = 0; i < 30; i++) {
    point(b);
    point(clean);
    syz_simulator_make(s, i, &b->o);
    syz_simulator_make(t, i, &clean->o);
    for (int arm = 0, k = 0; arm < SYZ_ARMS; arm++)
      for (int j = 0; j < syz_arm_count[arm]; j++, k++) {
        CHECK_EQ(b->arm_ivar[k], clean->arm_ivar[k]);
        if (!(b->arm_ivar[k] > 0.0f)) {
          masked++;
          continue;
        }
        double chi = (b->arm_flux[k] - b->model[syz_arm_first[arm] + j]) * sqrt(b->arm_ivar[k]);
        sum += chi;
        squares += chi * chi;
        n++;
      }
    for (int j = 0; j < SYZ_SPECTRUM_PIXELS; j++)
      if (b->ivar[j] > 0.0f) {
        double chi = (b->spectrum[j] - b->model[j]) * sqrt(b->ivar[j]);
        joined += chi * chi;
        n_joined++;
      }
    for (int k = 0; k < SYZ_BANDS; k++)
      for (int p = 0; p < SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE; p++) {
        int at = k * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE + p;
        double chi = (b->image[at] - clean->image[at]) / b->o.label[SYZ_SIM_noise_g + k];
        image += chi * chi;
        n_image++;
      }
  }
  double mean = sum / (double)n, variance = squares / (double)n;
  fprintf(stderr,
          "noise in units of the stated: arms mean %.4f variance %.4f, joined %.4f, images %.4f; %lld of %lld masked\n",
          mean, variance, joined / (double)n_joined, image / (double)n_image, (long long)masked, (long long)n);
  /* 238,000 numbers: the variance is known to 0.3 %; noise that is one per cent off (2 % in variance) would be seen. */
  double gate = 4.5 * sqrt(2.0 / (double)n);
  CHECK_LT(gate, 0.02);
  CHECK_NEAR(mean, 0.0, 4.5 / sqrt((double)n));
  CHECK_NEAR(variance, 1.0, gate);
  CHECK_NEAR(joined / (double)n_joined, 1.0, 4.5 * sqrt(2.0 / (double)n_joined));
  CHECK_NEAR(image / (double)n_image, 1.0, 4.5 * sqrt(2.0 / (double)n_image) + 1e-4); /* differences of float32 */
  CHECK(masked > 0);
  CHECK(masked < n / 200);
  syz_simulator_destroy(&s);
  syz_simulator_destroy(&t);
}

static void test_identifiers(buffers *b)
{
  syz_sim_config c = syz_sim_config_default();
  syz_simulator *s = NULL;
  CHECK_OK(syz_simulator_create(&c, NULL, &s));
  static const int64_t index[] = {0, 528, 529, 100000, 5000000};
  for (size_t i = 0; i < sizeof index / sizeof index[0]; i++) {
    point(b);
    b->o.image = NULL;
    b->o.segment = NULL;
    syz_simulator_make(s, index[i], &b->o);
    const syz_sim_object *o = &b->o;
    /* src/sky/README.md "Identifiers": OBJID bits 0-21, BRICKID 22-41, RELEASE 42-57. */
    CHECK_EQ(o->object_id & 0x3fffff, o->cell + 1);
    CHECK_EQ(o->object_id >> 22 & 0xfffff, o->brick_id);
    CHECK_EQ(o->object_id >> 42, 9010);
    CHECK_EQ(o->cell, index[i] % 529);
    CHECK_EQ(strlen(o->brick_name), 8);
    CHECK_LT(fabs(o->dec - o->brick_dec), 0.1275);
    CHECK_LT(fabs(o->ra - o->brick_ra) * cos(o->dec * 0.017453292519943295), 0.1275);
    /* wcslib agrees on where the galaxy is. */
    syz_wcs *w = NULL;
    double x, y;
    CHECK_OK(syz_wcs_create_tan(o->brick_ra, o->brick_dec, 1799.5, 1799.5, SYZ_PIXEL_ARCSEC, &w));
    CHECK_OK(syz_wcs_to_pixel(w, 1, &o->ra, &o->dec, &x, &y));
    CHECK_NEAR(x, o->brick_x + o->x, 1e-5);
    CHECK_NEAR(y, o->brick_y + o->y, 1e-5);
    syz_wcs_destroy(&w);
  }
  syz_simulator_destroy(&s);
}

static void test_misuse(void)
{
  syz_simulator *s = NULL;
  syz_sim_config c = syz_sim_config_default();
  c.redshift_max = 0.9;
  CHECK_ERROR(syz_simulator_create(&c, NULL, &s), SYZ_ERR_INPUT, "0.9");
  CHECK(s == NULL);
  c = syz_sim_config_default();
  c.lrg_fraction = 2.0;
  CHECK_ERROR(syz_simulator_create(&c, NULL, &s), SYZ_ERR_INPUT, "share");
  c = syz_sim_config_default();
  c.image_noise = NAN;
  CHECK_ERROR(syz_simulator_create(&c, NULL, &s), SYZ_ERR_INPUT, "noise");
  c = syz_sim_config_default();
  CHECK_OK(syz_simulator_create(&c, NULL, &s));
  CHECK_ERROR(syz_simulator_write_survey(s, 500, 100, "/nonexistent", NULL), SYZ_ERR_INPUT, "one brick");
  syz_simulator_destroy(&s);
}

int main(void)
{
  buffers *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
  if (!a || !b) return 1;
  test_purity(a, b);
  test_lines(a);
  test_flux(a);
  test_noise(a, b);
  test_identifiers(a);
  test_misuse();
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  free(a);
  free(b);
  return CHECK_RESULT();
}
