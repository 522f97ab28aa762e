/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Spectra of a galaxy's parts, and their observation by a DESI-like spectrograph.
 *
 * Per part: stellar populations are added by age, reddened, smoothed by the velocity dispersion, redshifted and put on
 * the observed grid by integrating over each pixel (differences of a running integral, so energy is conserved exactly);
 * emission lines are added as Gaussians integrated over pixels. Fluxes through the filters are dot products with this
 * same spectrum.
 *
 * Lines: Halpha from the star-formation rate (Kennicutt & Evans 2012, ARA&A 50, 531: log L = log SFR + 41.27), Balmer
 * ratios of case B at 10,000 K (Osterbrock & Ferland 2006, table 4.4), [N II] and [O III] from the oxygen abundance
 * (Marino et al. 2013, equations 2 and 4), [O II], [S II] and the faint ones as typical of H II regions (Kewley et al.
 * 2019, ARA&A 57, 511, section 4; trends only). Active nuclei: narrow-line ratios of Seyferts (Kewley et al. 2006,
 * MNRAS 372, 961). Vacuum wavelengths: desihub/fastspecfit emlines.ecsv.
 *
 * Spectrograph: 10 m2 effective, throughput and resolution of the three arms after DESI Collaboration 2022 (AJ 164,
 * 207) figures 15, 22; sky continuum of 21.9 AB mag/arcsec2 in a 1.5" fibre and the brightest OH and oxygen lines
 * (Hanuschik 2003, A&A 407, 1157; strengths rounded). Noise per pixel: read-out, sky and source counts, Gaussian; its
 * inverse variance is exactly that of the noise drawn.
 */
#include "emulator.h"
#include "photometry.h"
#include "simulator.h"

#include <math.h>
#include <string.h>

const int syz_arm_first[SYZ_ARMS] = {0, 2700, 4900}, syz_arm_count[SYZ_ARMS] = {2751, 2326, 2881};

static const double LSF_SIGMA_A = 0.76, LIGHT_KM_S = 299792.458, SUN_ERG_S = 3.828e33, MPC_CM = 3.0856775814913673e24;

enum {
  NII_A,
  NII_B,
  OIII_A,
  OIII_B,
  OII_A,
  OII_B,
  SII_A,
  SII_B,
  OI,
  NEIII,
  HA,
  HB,
  HG,
  HD,
  HE,
  H8,
  H9,
  HEI_A,
  HEI_B,
  ARIII,
  SIII_A,
  SIII_B,
  LINE_COUNT
};
static const double LINE_A[LINE_COUNT] = {
    6585.273, 6549.861, 5008.240, 4960.295, 3727.10,  3729.86,  6718.294, 6732.674, 6302.046, 3869.86, 6564.60,
    4862.71,  4341.692, 4102.892, 3971.198, 3890.166, 3836.485, 5877.249, 4472.735, 7137.77,  9071.1,  9533.2};

/* Night-sky lines, wavelength in air, 1e-17 erg/s/cm2 through a fibre. */
static const double SKY_LINES[][2] = {
    {5577.34, 300}, {5889.95, 25}, {5895.92, 15}, {6300.30, 90}, {6363.78, 30}, {6498.7, 12},  {6533.0, 15},
    {6553.6, 14},   {6863.96, 25}, {6923.2, 22},  {6949.0, 16},  {7276.4, 40},  {7316.3, 55},  {7329.1, 30},
    {7340.9, 55},   {7369.2, 25},  {7524.1, 22},  {7571.7, 20},  {7712.2, 18},  {7750.6, 60},  {7794.1, 65},
    {7808.5, 30},   {7821.5, 60},  {7841.3, 25},  {7853.2, 35},  {7913.7, 90},  {7949.2, 30},  {7964.6, 85},
    {7993.3, 85},   {8025.7, 40},  {8288.6, 40},  {8298.6, 30},  {8344.6, 85},  {8382.4, 50},  {8399.2, 130},
    {8415.2, 40},   {8430.2, 120}, {8452.3, 35},  {8465.4, 90},  {8493.4, 85},  {8504.6, 40},  {8538.7, 20},
    {8548.7, 18},   {8761.3, 40},  {8767.9, 60},  {8778.3, 70},  {8791.2, 90},  {8827.1, 140}, {8836.0, 60},
    {8885.9, 140},  {8903.1, 85},  {8919.6, 140}, {8943.4, 95},  {8957.9, 110}, {8988.4, 60},  {9001.1, 60},
    {9038.1, 55},   {9104.0, 20},  {9217.0, 25},  {9224.7, 30},  {9272.0, 25},  {9306.0, 55},  {9313.2, 90},
    {9323.3, 60},   {9337.9, 95},  {9376.0, 130}, {9419.7, 90},  {9439.7, 110}, {9458.3, 45},  {9476.8, 90},
    {9502.6, 60},   {9505.8, 45},  {9552.5, 90},  {9567.6, 75},  {9607.9, 55},  {9620.6, 60},  {9655.0, 40},
    {9701.6, 55},   {9720.0, 70},  {9791.6, 70},  {9799.8, 45}};
enum { SKY_LINE_COUNT = sizeof SKY_LINES / sizeof SKY_LINES[0] };

struct sim_spectrograph {
  syz_stellar *stellar;
  const syz_emulator *emulator; /* borrowed, may be NULL */
  int *emulator_from; /* [SYZ_STELLAR_PIXELS] left neighbour in the emulator's grid, and the share of the right one */
  float *emulator_share, *emulator_scratch, *emulator_ln;
  double *emulator_wave;
  float *rest, *smooth; /* [SYZ_STELLAR_PIXELS] */
  double *running;      /* [SYZ_STELLAR_PIXELS + 1] Lsun up to each pixel edge */
  double *weight[SYZ_BANDS];
  sim_spectra spectra;
  float *counts, *sky; /* [SYZ_ARM_PIXELS] electrons per second and unit flux; sky counts per second */
  float *normal;       /* [SYZ_ARM_PIXELS] */
};

/* Ciddor 1996 as in the VALD note (Piskunov): vacuum from air. */
static double vacuum(double air)
{
  double s = 1.0e8 / (air * air);
  return air *
         (1.0 + 8.336624212083e-5 + 0.02408926869968 / (130.1065924522 - s) + 1.599740894897e-4 / (38.92568793293 - s));
}

static double step_up(double x, double middle, double width) { return 1.0 / (1.0 + exp(-(x - middle) / width)); }

/* Throughput of atmosphere, telescope and spectrograph. */
static double throughput(int arm, double w)
{
  switch (arm) {
  case 0:
    return 0.26 * step_up(w, 3780.0, 150.0) * (0.75 + 0.25 * (w - 3600.0) / 2200.0) * (1.0 - step_up(w, 5780.0, 12.0));
  case 1:
    return 0.36 * step_up(w, 5785.0, 12.0) * (1.0 - step_up(w, 7590.0, 15.0)) *
           (1.0 - 0.25 * exp(-0.5 * pow((w - 6875.0) / 18.0, 2.0)));
  default:
    return 0.40 * step_up(w, 7560.0, 15.0) * (1.0 - 0.55 * step_up(w, 9550.0, 180.0)) *
           (1.0 - 0.5 * exp(-0.5 * pow((w - 7615.0) / 22.0, 2.0))) *
           (1.0 - 0.18 * exp(-0.5 * pow((w - 9380.0) / 110.0, 2.0)));
  }
}

static void set_up_arms(sim_spectrograph *s)
{
  int k = 0;
  for (int arm = 0; arm < SYZ_ARMS; arm++)
    for (int i = 0; i < syz_arm_count[arm]; i++, k++) {
      double w = syz_wave_grid(syz_arm_first[arm] + i);
      /* 1e-17 erg/s/cm2/A over 0.8 A and 1e5 cm2, divided by the energy of a photon. */
      s->counts[k] = (float)(1.0e-17 * SYZ_WAVE_STEP_A * 1.0e5 / (1.98644586e-8 / w) * throughput(arm, w));
      double sky = 1.9 * pow(w / 6000.0, -0.2);
      for (int l = 0; l < SKY_LINE_COUNT; l++) {
        double d = (w - vacuum(SKY_LINES[l][0])) / LSF_SIGMA_A;
        if (fabs(d) < 30.0)
          sky += SKY_LINES[l][1] / (2.5066 * LSF_SIGMA_A) * (exp(-0.5 * d * d) + 2.0e-4 / (1.0 + 0.02 * d * d));
      }
      s->sky[k] = (float)sky * s->counts[k];
    }
}

static syz_status set_up_emulator(sim_spectrograph *s, const syz_emulator *e)
{
  syz_status st = SYZ_OK;
  int n = syz_emulator_waves(e), k = 0;
  s->emulator = e;
  SYZ_ALLOC(s->emulator_wave, "emulator grid", n);
  SYZ_ALLOC(s->emulator_ln, "emulator output", n);
  SYZ_ALLOC(s->emulator_scratch, "emulator scratch", 2 * (size_t)syz_emulator_width(e));
  SYZ_ALLOC(s->emulator_from, "emulator map", SYZ_STELLAR_PIXELS);
  SYZ_ALLOC(s->emulator_share, "emulator map", SYZ_STELLAR_PIXELS);
  for (int b = 0; b < SYZ_EMULATOR_BINS; b++)
    for (int i = 0; i < e->bin[b].n_wave; i++) s->emulator_wave[k++] = e->bin[b].wave_A[i];
  SYZ_REQUIRE(n > 1 && s->emulator_wave[0] <= SYZ_STELLAR_FIRST_A &&
                  s->emulator_wave[n - 1] >= s->stellar->wave_A[SYZ_STELLAR_PIXELS - 1],
              SYZ_ERR_DATA, "emulator covers %g to %g Angstrom; %g to %g are needed", n ? s->emulator_wave[0] : 0.0,
              n ? s->emulator_wave[n - 1] : 0.0, SYZ_STELLAR_FIRST_A, s->stellar->wave_A[SYZ_STELLAR_PIXELS - 1]);
  for (int i = 1; i < n; i++)
    SYZ_REQUIRE(s->emulator_wave[i] > s->emulator_wave[i - 1], SYZ_ERR_DATA,
                "emulator wavelengths do not increase at %g Angstrom", s->emulator_wave[i]);
  for (int i = 0, j = 0; i < SYZ_STELLAR_PIXELS; i++) {
    double w = s->stellar->wave_A[i];
    while (j < n - 2 && s->emulator_wave[j + 1] <= w) j++;
    s->emulator_from[i] = j;
    s->emulator_share[i] = (float)((w - s->emulator_wave[j]) / (s->emulator_wave[j + 1] - s->emulator_wave[j]));
  }
cleanup:
  return st;
}

syz_status sim_spectrograph_create(const syz_emulator *emulator, sim_spectrograph **out)
{
  syz_status st = SYZ_OK;
  sim_spectrograph *s = NULL;
  *out = NULL;
  SYZ_ALLOC(s, "spectrograph", 1);
  SYZ_TRY(syz_stellar_create(&s->stellar));
  SYZ_ALLOC(s->rest, "rest spectrum", SYZ_STELLAR_PIXELS);
  SYZ_ALLOC(s->smooth, "smooth spectrum", SYZ_STELLAR_PIXELS);
  SYZ_ALLOC(s->running, "running integral", SYZ_STELLAR_PIXELS + 1);
  SYZ_ALLOC(s->counts, "arm counts", SYZ_ARM_PIXELS);
  SYZ_ALLOC(s->sky, "arm sky", SYZ_ARM_PIXELS);
  SYZ_ALLOC(s->normal, "arm noise", SYZ_ARM_PIXELS);
  for (int b = 0; b < SYZ_BANDS; b++) {
    SYZ_ALLOC(s->weight[b], "photometry", SYZ_SIM_WAVES);
    syz_photometry_weights(b, SYZ_WAVE_FIRST_A, SYZ_WAVE_STEP_A, SYZ_SIM_WAVES, s->weight[b]);
  }
  for (int k = 0; k < PART_COUNT; k++) SYZ_ALLOC(s->spectra.part[k], "part spectrum", SYZ_SIM_WAVES);
  set_up_arms(s);
  if (emulator) SYZ_TRY(set_up_emulator(s, emulator));
  *out = s;
  s = NULL;
cleanup:
  sim_spectrograph_destroy(&s);
  return st;
}

void sim_spectrograph_destroy(sim_spectrograph **s)
{
  if (!*s) return;
  syz_stellar_destroy(&(*s)->stellar);
  syz_free(&(*s)->emulator_wave);
  syz_free(&(*s)->emulator_ln);
  syz_free(&(*s)->emulator_scratch);
  syz_free(&(*s)->emulator_from);
  syz_free(&(*s)->emulator_share);
  syz_free(&(*s)->rest);
  syz_free(&(*s)->smooth);
  syz_free(&(*s)->running);
  syz_free(&(*s)->counts);
  syz_free(&(*s)->sky);
  syz_free(&(*s)->normal);
  for (int b = 0; b < SYZ_BANDS; b++) syz_free(&(*s)->weight[b]);
  for (int k = 0; k < PART_COUNT; k++) syz_free(&(*s)->spectra.part[k]);
  syz_free(s);
}

const syz_stellar *sim_spectrograph_stellar(const sim_spectrograph *s) { return s->stellar; }

/* ------------------------------------------------------------- starlight */

/* Shares of the four PROVABGS star-formation bases in each part; they add up to 1. */
static const double EMULATOR_MIX[PART_COUNT][4] = {
    {0.01, 0.19, 0.35, 0.45}, {0.02, 0.38, 0.40, 0.20}, {0.97, 0.01, 0.01, 0.01}};

/* Reddened starlight of one part, Lsun/Angstrom, into s->rest. */
static void starlight(sim_spectrograph *s, const sim_galaxy *g, int part)
{
  if (!s->emulator) {
    syz_stellar_mix(s->stellar, g->formed[part], g->log_z[part], s->rest);
    float e = (float)(-0.4 * 2.302585092994046 * g->ebv[part]);
    if (e != 0.0f)
      for (int i = 0; i < SYZ_STELLAR_PIXELS; i++) s->rest[i] *= expf(e * s->stellar->calzetti[i]);
    return;
  }
  const double *mix = EMULATOR_MIX[part];
  double theta[SYZ_EMULATOR_INPUTS];
  theta[0] = 1.0 - mix[0];
  theta[1] = 1.0 - mix[1] / theta[0];
  theta[2] = 1.0 - mix[2] / (theta[0] * theta[1]);
  /* Together the two metallicity bases have a mean of 4.3 over a galaxy's life. */
  theta[3] = theta[4] = 0.019 * pow(10.0, g->log_z[part]) / 4.3;
  theta[5] = part == PART_YOUNG ? 0.5 * g->ebv_gas * 4.05 / 1.086 : 0.0;
  theta[6] = sim_clip(g->ebv[part] * 4.05 / 1.086, 0.0, 3.0);
  theta[7] = -0.7;
  theta[8] = sim_clip(g->age_universe_gyr, 7.6, 13.3);
  syz_emulator_evaluate(s->emulator, theta, s->emulator_scratch, s->emulator_ln);
  int n = syz_emulator_waves(s->emulator);
  float mass = (float)g->formed_total[part];
  for (int i = 0; i < n; i++) s->emulator_ln[i] = expf(s->emulator_ln[i]);
  for (int i = 0; i < SYZ_STELLAR_PIXELS; i++) {
    const float *l = s->emulator_ln + s->emulator_from[i];
    s->rest[i] = mass * (l[0] + s->emulator_share[i] * (l[1] - l[0]));
  }
}

/* Gaussian of sigma pixels on the logarithmic grid: velocity dispersion and instrument. The ends keep their values. */
static void smooth(sim_spectrograph *s, double sigma)
{
  enum { REACH_MAX = 64 };
  float kernel[2 * REACH_MAX + 1];
  int reach = (int)ceil(3.5 * sigma);
  if (reach > REACH_MAX) reach = REACH_MAX;
  double sum = 0.0;
  for (int k = -reach; k <= reach; k++) sum += exp(-0.5 * k * k / (sigma * sigma));
  for (int k = -reach; k <= reach; k++) kernel[k + reach] = (float)(exp(-0.5 * k * k / (sigma * sigma)) / sum);
  memcpy(s->smooth, s->rest, sizeof(float) * SYZ_STELLAR_PIXELS);
  float *restrict out = s->smooth + reach;
  const float *restrict in = s->rest;
  int n = SYZ_STELLAR_PIXELS - 2 * reach;
  for (int i = 0; i < n; i++) out[i] = 0.0f;
  for (int k = 0; k <= 2 * reach; k++) {
    float a = kernel[k];
    for (int i = 0; i < n; i++) out[i] += a * in[i + k];
  }
}

/* s->smooth (Lsun/A, rest) onto the observed grid: out = energy within each pixel / pixel width / (4 pi d^2). */
static void redshift(sim_spectrograph *s, const sim_galaxy *g, float *out)
{
  const double half = 0.5 * SYZ_STELLAR_STEP, grow = 2.0 * sinh(half);
  double sum = 0.0;
  for (int i = 0; i < SYZ_STELLAR_PIXELS; i++) {
    s->running[i] = sum;
    sum += s->smooth[i] * s->stellar->wave_A[i] * grow;
  }
  s->running[SYZ_STELLAR_PIXELS] = sum;
  double d = g->distance_mpc * MPC_CM, scale = 1.0e17 * SUN_ERG_S / (4.0 * SYZ_PI * d * d) / SYZ_WAVE_STEP_A;
  double before = 0.0, first = log(SYZ_STELLAR_FIRST_A) - half;
  for (int i = 0; i <= SYZ_SIM_WAVES; i++) {
    double w = (SYZ_WAVE_FIRST_A + SYZ_WAVE_STEP_A * (i - 0.5)) / (1.0 + g->z), u = (log(w) - first) / SYZ_STELLAR_STEP;
    int j = (int)sim_clip(u, 0.0, SYZ_STELLAR_PIXELS - 1.0);
    double now = s->running[j] + (s->running[j + 1] - s->running[j]) * (u - j);
    if (i) out[i - 1] = (float)((now - before) * scale);
    before = now;
  }
}

/* -------------------------------------------------------------- emission */

/* One line of luminosity lsun (Lsun) as a Gaussian integrated over pixels. */
static void add_line(const sim_galaxy *g, double rest_A, double lsun, double sigma_km_s, float *out)
{
  double d = g->distance_mpc * MPC_CM, total = 1.0e17 * lsun * SUN_ERG_S / (4.0 * SYZ_PI * d * d);
  double centre = rest_A * (1.0 + g->z), broad = centre * sigma_km_s / LIGHT_KM_S,
         sigma = sqrt(LSF_SIGMA_A * LSF_SIGMA_A + broad * broad);
  int from = (int)((centre - 6.0 * sigma - SYZ_WAVE_FIRST_A) / SYZ_WAVE_STEP_A),
      to = (int)((centre + 6.0 * sigma - SYZ_WAVE_FIRST_A) / SYZ_WAVE_STEP_A) + 1;
  if (from < 0) from = 0;
  if (to > SYZ_SIM_WAVES - 1) to = SYZ_SIM_WAVES - 1;
  if (from > to) return;
  double norm = 1.0 / (sigma * 1.4142135623730951), edge = SYZ_WAVE_FIRST_A + SYZ_WAVE_STEP_A * (from - 0.5) - centre,
         before = erf(edge * norm);
  for (int i = from; i <= to; i++) {
    edge += SYZ_WAVE_STEP_A;
    double now = erf(edge * norm);
    out[i] += (float)(0.5 * total * (now - before) / SYZ_WAVE_STEP_A);
    before = now;
  }
}

/* Strengths relative to Halpha before dust. */
static void hii_region(double oh, double *l)
{
  double n2 = pow(10.0, (oh - 8.743) / 0.462), o3hb = pow(10.0, (8.533 - oh) / 0.214 + (oh - 8.743) / 0.462);
  o3hb = fmin(o3hb, 7.0); /* the relation is not calibrated beyond */
  double hb = 1.0 / 2.86, o2hb = pow(10.0, 0.5 - 0.9 * fmax(0.0, oh - 8.45) - 0.5 * fmax(0.0, 8.2 - oh));
  double s2 = 0.35 * pow(10.0, -0.3 * fmax(0.0, 8.4 - oh));
  l[HA] = 1.0, l[HB] = hb, l[HG] = 0.468 * hb, l[HD] = 0.259 * hb, l[HE] = 0.159 * hb, l[H8] = 0.105 * hb,
  l[H9] = 0.073 * hb;
  l[NII_A] = n2, l[NII_B] = n2 / 2.96, l[OIII_A] = o3hb * hb, l[OIII_B] = o3hb * hb / 2.98;
  l[OII_A] = 0.42 * o2hb * hb, l[OII_B] = 0.58 * o2hb * hb, l[SII_A] = 0.58 * s2, l[SII_B] = 0.42 * s2;
  l[OI] = 0.03, l[NEIII] = 0.08 * o3hb * hb, l[HEI_A] = 0.04, l[HEI_B] = 0.013, l[ARIII] = 0.03, l[SIII_A] = 0.08,
  l[SIII_B] = 0.20;
}

static void nucleus(double *l)
{
  double hb = 1.0 / 3.1;
  l[HA] = 1.0, l[HB] = hb, l[HG] = 0.468 * hb, l[HD] = 0.259 * hb, l[HE] = 0.159 * hb, l[H8] = 0.105 * hb,
  l[H9] = 0.073 * hb;
  l[NII_A] = 1.1, l[NII_B] = 1.1 / 2.96, l[OIII_A] = 8.0 * hb, l[OIII_B] = 8.0 / 2.98 * hb, l[OII_A] = 1.0 * hb,
  l[OII_B] = 1.2 * hb;
  l[SII_A] = 0.35, l[SII_B] = 0.30, l[OI] = 0.15, l[NEIII] = 0.8 * hb, l[HEI_A] = 0.04, l[HEI_B] = 0.013,
  l[ARIII] = 0.05, l[SIII_A] = 0.09, l[SIII_B] = 0.22;
}

const sim_spectra *sim_spectrograph_shine(sim_spectrograph *s, const sim_galaxy *g)
{
  double sigma = sqrt(g->sigma_v * g->sigma_v + 35.0 * 35.0) / (LIGHT_KM_S * SYZ_STELLAR_STEP);
  for (int k = 0; k < PART_COUNT; k++) {
    float *out = s->spectra.part[k];
    if (g->formed_total[k] > 0.0) {
      starlight(s, g, k);
      smooth(s, sigma);
      redshift(s, g, out);
    } else {
      memset(out, 0, sizeof(float) * SYZ_SIM_WAVES);
    }
  }
  double line[LINE_COUNT];
  if (g->formed_total[PART_YOUNG] > 0.0) {
    double halpha = pow(10.0, g->log_sfr + 41.27) / SUN_ERG_S;
    hii_region(g->oh12, line);
    for (int l = 0; l < LINE_COUNT; l++)
      add_line(g, LINE_A[l], halpha * line[l] * pow(10.0, -0.4 * g->ebv_gas * syz_calzetti(LINE_A[l])),
               0.6 * g->sigma_v, s->spectra.part[PART_YOUNG]);
  }
  if (g->is_agn) {
    double halpha = pow(10.0, g->log_agn) / SUN_ERG_S;
    nucleus(line);
    for (int l = 0; l < LINE_COUNT; l++)
      add_line(g, LINE_A[l], halpha * line[l] * pow(10.0, -0.4 * 0.2 * syz_calzetti(LINE_A[l])),
               fmax(150.0, g->sigma_v), s->spectra.part[PART_BULGE]);
  }
  for (int k = 0; k < PART_COUNT; k++)
    for (int b = 0; b < SYZ_BANDS; b++)
      s->spectra.flux[k][b] = syz_photometry_flux(s->weight[b], s->spectra.part[k], SYZ_SIM_WAVES);
  return &s->spectra;
}

/* ----------------------------------------------------------- observation */

void sim_spectrograph_observe(sim_spectrograph *s, const syz_sim_config *c, int64_t index, const float *model,
                              syz_sim_object *o)
{
  sim_draw sky = {syz_random_make(c->seed, SYZ_RANDOM_SIM_SKY, 0, (uint64_t)index), 0};
  double exposure = c->exposure_s * exp(0.25 * sim_normal(&sky)), brightness = exp(0.15 * sim_normal(&sky));
  const double read_variance = 40.0; /* four columns of 3.2 electrons */
  double scale = c->spectrum_noise > 0.0 ? c->spectrum_noise : 1.0;
  syz_random noise = syz_random_make(c->seed, SYZ_RANDOM_SIM_SPECTRUM_NOISE, 0, (uint64_t)index);
  syz_random_fill_normal(&noise, s->normal, SYZ_ARM_PIXELS);
  float *flux = s->normal, *ivar = s->smooth; /* reuse of the starlight's scratch, which is long enough */
  int k = 0;
  for (int arm = 0; arm < SYZ_ARMS; arm++)
    for (int i = 0; i < syz_arm_count[arm]; i++, k++) {
      double truth = model[syz_arm_first[arm] + i], unit = exposure * s->counts[k];
      double variance = read_variance + exposure * brightness * s->sky[k] + fmax(truth, 0.0) * unit,
             sigma = scale * sqrt(variance) / unit;
      ivar[k] = (float)(1.0 / (sigma * sigma));
      flux[k] = (float)(truth + (c->spectrum_noise > 0.0 ? sigma * s->normal[k] : 0.0));
    }
  /* Cosmic rays that the pipeline found: pixels without information. */
  int hits = (int)(6.0 * sim_uniform(&sky));
  for (int h = 0; h < hits; h++) {
    int at = (int)(sim_uniform(&sky) * (SYZ_ARM_PIXELS - 3));
    for (int i = 0; i < 3; i++) flux[at + i] = ivar[at + i] = 0.0f;
  }
  if (o->arm_flux) memcpy(o->arm_flux, flux, sizeof(float) * SYZ_ARM_PIXELS);
  if (o->arm_ivar) memcpy(o->arm_ivar, ivar, sizeof(float) * SYZ_ARM_PIXELS);
  if (o->arm_sigma_A)
    for (int i = 0; i < SYZ_ARM_PIXELS; i++) o->arm_sigma_A[i] = (float)LSF_SIGMA_A;
  if (!o->spectrum && !o->ivar) return;
  /* The arms joined: weighted means where two overlap (src/sky/README.md "Joining the arms"). */
  for (int i = 0; i < SYZ_SPECTRUM_PIXELS; i++) {
    double sum = 0.0, weight = 0.0;
    float only = 0.0f;
    int seen = 0;
    for (int arm = 0, base = 0; arm < SYZ_ARMS; base += syz_arm_count[arm++]) {
      int j = i - syz_arm_first[arm];
      if (j < 0 || j >= syz_arm_count[arm]) continue;
      sum += (double)ivar[base + j] * flux[base + j];
      weight += ivar[base + j];
      only = flux[base + j];
      seen++;
    }
    if (o->spectrum) o->spectrum[i] = seen == 1 ? only : weight > 0.0 ? (float)(sum / weight) : 0.0f;
    if (o->ivar) o->ivar[i] = (float)weight;
  }
}
