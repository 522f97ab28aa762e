/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Simple stellar populations from first principles, small enough to compute at start-up.
 *
 * A population of one age and metallicity is a sum over stars: the initial mass function gives the number born per
 * mass, a main sequence with lifetimes gives which still exist and how bright and hot they are, and the numbers in
 * evolved phases follow from their durations: N = IMF(m_turnoff) |dm/dt| duration. A star's spectrum is a black body
 * with the features of its atmosphere: the Balmer jump, metal blanketing with the 4000 A break, TiO bands, and some
 * fifty lines whose strength follows temperature and metallicity. Absorbed energy returns in the continuum
 * (backwarming), so each star keeps its luminosity.
 *
 * The depths in the tables below are not derived but fitted by eye, so that single stars resemble the Sun, Vega and K
 * and M giants. The test compares composite colours and mass-to-light ratios with the PROVABGS emulator (FSPS), which
 * is independent.
 *
 * Sources: IMF Chabrier 2003 (PASP 115, 763); main sequence Pecaut & Mamajek 2013 (ApJS 208, 9) and its continued
 * table; red-giant core mass and luminosity Refsdal & Weigert 1970 (A&A 6, 426) as in Kippenhahn & Weigert section 32,
 * L = 2.3e5 Mc^6; mass loss Behroozi, Wechsler & Conroy 2013 (ApJ 770, 57) equation 14; lines: Worthey et al. 1994
 * (ApJS 94, 687), vacuum.
 */
#include "stellar.h"

#include <math.h>
#include <string.h>

enum { TEMPERATURES = 28, MASS_STEPS = 260 };
/* Factor on the light per formed mass, fitted to FSPS (through the PROVABGS emulator) at ages of 3 to 10 Gyr. */
static const double YIELD = 0.82;
static const double LOG_T_FIRST = 3.46, LOG_T_LAST = 4.68;

/* -------------------------------------------------------------- stars */

/* Zero-age main sequence at solar metallicity: log10 mass, log10 L, log10 T (Pecaut & Mamajek; above 20 Msun Ekstroem
 * et al. 2012). */
static const double MAIN_SEQUENCE[][3] = {
    {-1.00, -3.05, 3.452},  {-0.70, -2.25, 3.500}, {-0.52, -1.84, 3.526}, {-0.36, -1.47, 3.553}, {-0.24, -1.14, 3.588},
    {-0.155, -0.86, 3.643}, {-0.09, -0.55, 3.690}, {-0.04, -0.34, 3.722}, {0.0, -0.13, 3.755},   {0.06, 0.20, 3.785},
    {0.124, 0.50, 3.816},   {0.207, 0.82, 3.858},  {0.274, 1.04, 3.907},  {0.36, 1.50, 3.987},   {0.53, 2.15, 4.097},
    {0.67, 2.72, 4.196},    {0.86, 3.30, 4.314},   {1.0, 3.72, 4.400},    {1.25, 4.50, 4.500},   {1.50, 5.05, 4.580},
    {1.78, 5.60, 4.640},    {2.00, 6.05, 4.680}};
enum { MAIN_SEQUENCE_ROWS = sizeof MAIN_SEQUENCE / sizeof MAIN_SEQUENCE[0] };

static void main_sequence(double log_m, double *log_l, double *log_t)
{
  int i = 0;
  while (i < MAIN_SEQUENCE_ROWS - 2 && log_m > MAIN_SEQUENCE[i + 1][0]) i++;
  const double *a = MAIN_SEQUENCE[i], *b = MAIN_SEQUENCE[i + 1];
  double f = (log_m - a[0]) / (b[0] - a[0]);
  *log_l = a[1] + f * (b[1] - a[1]);
  *log_t = a[2] + f * (b[2] - a[2]);
}

/* Main-sequence lifetime in Gyr: log-linear through Ekstroem et al. 2012 (A&A 537, A146), 10 Gyr at 1 Msun, 3.5 Myr at
 * 100. */
static double lifetime_gyr(double log_m)
{
  static const double table[][2] = {{-1.0, 4.0},   {-0.1, 1.35},  {0.0, 1.0},    {0.1, 0.67},   {0.2, 0.33},
                                    {0.3, 0.02},   {0.48, -0.46}, {0.70, -1.02}, {0.85, -1.36}, {1.0, -1.61},
                                    {1.18, -1.87}, {1.40, -2.10}, {1.6, -2.25},  {1.78, -2.37}, {2.0, -2.46}};
  int i = 0, rows = (int)(sizeof table / sizeof table[0]);
  while (i < rows - 2 && log_m > table[i + 1][0]) i++;
  double f = (log_m - table[i][0]) / (table[i + 1][0] - table[i][0]);
  return pow(10.0, table[i][1] + f * (table[i + 1][1] - table[i][1]));
}

/* Chabrier 2003 in dN/dlog10(m), not normalised: log-normal below 1 Msun, slope -1.3 above, continuous. */
static double chabrier(double log_m)
{
  if (log_m <= 0.0) return exp(-0.5 * pow((log_m - log10(0.079)) / 0.69, 2.0));
  return exp(-0.5 * pow(log10(0.079) / 0.69, 2.0)) * pow(10.0, -1.3 * log_m);
}

/* ------------------------------------------------------------- spectra */

/* Strength of neutral and singly ionised metals in the blue against temperature: 1 in the Sun. */
static double metal_strength(double t)
{
  static const double table[][2] = {{2900, 2.2},  {3600, 2.2},   {4200, 2.0},   {4700, 1.62},
                                    {5200, 1.27}, {5780, 1.0},   {6300, 0.66},  {7000, 0.40},
                                    {8000, 0.20}, {10000, 0.10}, {15000, 0.05}, {50000, 0.03}};
  int i = 0, rows = (int)(sizeof table / sizeof table[0]);
  while (i < rows - 2 && t > table[i + 1][0]) i++;
  double f = fmin(1.0, fmax(0.0, (t - table[i][0]) / (table[i + 1][0] - table[i][0])));
  return table[i][1] + f * (table[i + 1][1] - table[i][1]);
}

/* How a solar atmosphere departs from its black body, as an optical depth: blended lines increase to the blue, with
 * edges at 4000, 2900 and 2640 A (Fe, Mg, Ca blends); the absorbed flux reappears between them (negative), and weak
 * molecular bands lie beyond 6000 A. */
static double haze(double w)
{
  static const double table[][2] = {
      {2100, 2.71},  {2400, 2.46},  {2635, 2.25},  {2645, 1.64},  {2800, 1.56},  {2895, 1.31},  {2910, 0.34},
      {3100, 0.25},  {3400, 0.17},  {3650, 0.17},  {3750, 0.18},  {3850, 0.20},  {3950, 0.17},  {4000, -0.03},
      {4100, -0.07}, {4300, -0.06}, {4450, -0.11}, {4800, -0.13}, {5150, -0.10}, {5500, -0.06}, {5900, -0.02},
      {6150, 0.035}, {6800, 0.06},  {7350, 0.06},  {7450, 0.03},  {7600, 0.04},  {8500, 0.0},   {12000, 0.0}};
  int i = 0, rows = (int)(sizeof table / sizeof table[0]);
  while (i < rows - 2 && w > table[i + 1][0]) i++;
  double f = fmin(1.0, fmax(0.0, (w - table[i][0]) / (table[i + 1][0] - table[i][0])));
  return table[i][1] + f * (table[i + 1][1] - table[i][1]);
}

typedef enum line_kind { HYDROGEN, METAL, COOL, CALCIUM_T, HELIUM } line_kind;

/* Vacuum wavelength, equivalent width (A) where the kind is strongest (hydrogen A0, metal and cool: the Sun), width
 * sigma (A). */
typedef struct stellar_line {
  double wave_A, width_A, sigma_A;
  line_kind kind;
} stellar_line;

static const stellar_line LINES[] = {
    {6564.6, 10.0, 7.0, HYDROGEN}, {4862.7, 14.0, 9.0, HYDROGEN}, {4341.7, 13.5, 9.0, HYDROGEN},
    {4102.9, 13.5, 9.0, HYDROGEN}, {3971.2, 12.0, 8.5, HYDROGEN}, {3890.2, 10.5, 7.5, HYDROGEN},
    {3836.5, 8.5, 6.5, HYDROGEN},  {3799.0, 7.0, 5.5, HYDROGEN},  {3771.7, 5.5, 4.5, HYDROGEN},
    {3751.2, 4.5, 4.0, HYDROGEN},  {3735.4, 3.5, 3.5, HYDROGEN},  {3723.0, 3.0, 3.0, HYDROGEN},
    {3713.0, 2.4, 2.5, HYDROGEN},  {3704.9, 2.0, 2.2, HYDROGEN},  {3934.8, 9.0, 6.0, METAL},
    {3969.6, 7.0, 5.0, METAL},                                                               /* Ca II K, H */
    {2796.4, 7.0, 5.0, METAL},     {2803.5, 7.0, 5.0, METAL},     {2852.9, 5.0, 4.0, METAL}, /* Mg II, Mg I */
    {2600.2, 6.0, 6.0, METAL},     {2586.7, 4.0, 5.0, METAL},                                /* Fe II */
    {3228.0, 4.0, 10.0, METAL},    {3360.0, 4.5, 9.0, METAL},     {3581.0, 5.0, 8.0, METAL},
    {3735.0, 5.0, 8.0, METAL},     {3820.0, 4.0, 7.0, METAL},     {3860.0, 5.5, 10.0, COOL},
    {3880.0, 4.0, 6.0, COOL}, /* Fe I, CN */
    {4046.0, 0.8, 3.0, METAL},     {4064.0, 0.8, 3.0, METAL},     {4175.0, 1.8, 12.0, COOL},
    {4200.0, 1.6, 9.0, COOL},      {4227.9, 0.8, 2.5, COOL},      {4305.5, 5.0, 9.0, COOL},
    {4326.0, 1.2, 4.0, METAL},     {4384.8, 2.6, 5.0, METAL}, /* Ca, G band, Fe */
    {4406.0, 1.0, 4.0, METAL},     {4456.0, 0.9, 3.5, METAL},     {4532.0, 2.0, 7.0, METAL},
    {4669.0, 2.2, 9.0, COOL},      {4921.0, 0.8, 4.0, METAL},     {4958.5, 0.7, 4.0, METAL},
    {5015.0, 2.4, 9.0, METAL},     {5041.0, 0.7, 4.0, METAL},     {5110.0, 1.4, 14.0, COOL},
    {5168.7, 0.9, 2.6, METAL},     {5174.1, 1.1, 2.6, METAL},     {5185.0, 1.2, 2.6, METAL}, /* MgH, Mg b */
    {5271.0, 1.7, 5.5, METAL},     {5330.0, 1.4, 5.5, METAL},     {5407.0, 0.9, 4.5, METAL},
    {5448.0, 0.5, 4.0, METAL},     {5710.0, 0.5, 4.0, METAL},     {5784.0, 0.4, 4.0, METAL},
    {5891.6, 0.9, 2.2, COOL},      {5897.6, 0.7, 2.2, COOL}, /* Na D */
    {6104.0, 0.4, 4.0, COOL},      {6124.0, 0.4, 3.0, COOL},      {6163.9, 0.4, 3.0, COOL},
    {6192.0, 0.3, 3.0, METAL},     {6253.0, 0.3, 3.0, METAL},     {6402.0, 0.3, 3.0, METAL},
    {6440.8, 0.3, 3.0, COOL},      {6497.0, 0.8, 5.0, METAL},     {8185.5, 0.3, 2.5, COOL},
    {8197.1, 0.4, 2.5, COOL},      {8809.2, 0.5, 2.8, COOL},      {8500.4, 1.2, 2.8, CALCIUM_T},
    {8544.4, 3.0, 3.6, CALCIUM_T}, {8664.5, 2.4, 3.4, CALCIUM_T}, {4027.3, 0.8, 3.0, HELIUM},
    {4472.7, 0.9, 3.0, HELIUM},    {4922.8, 0.4, 3.0, HELIUM},    {5877.2, 0.6, 2.5, HELIUM},
    {6679.9, 0.5, 2.5, HELIUM}};
enum { LINE_COUNT = sizeof LINES / sizeof LINES[0] };

static double line_strength(line_kind kind, double t, double log_z)
{
  double x = log10(t), metals = metal_strength(t);
  switch (kind) {
  case HYDROGEN:
    return exp(-0.5 * pow((x - 3.978) / (x < 3.978 ? 0.145 : 0.24), 2.0));
  case METAL:
    return 0.8 * metals * pow(10.0, 0.42 * log_z);
  case COOL:
    return 0.8 * pow(metals, 1.25) / (1.0 + pow(t / 6800.0, 14.0)) * pow(10.0, 0.55 * log_z);
  case CALCIUM_T:
    return 1.25 * pow(10.0, 0.3 * log_z) / (1.0 + pow(t / 7600.0, 8.0));
  case HELIUM:
    return exp(-0.5 * pow((x - 4.32) / 0.13, 2.0));
  }
  return 0.0;
}

/* Heads of the TiO bands in vacuum; each degrades to the red. */
static const double TIO_HEAD_A[] = {4763, 4956, 5169, 5450, 5863, 6160, 6654, 7056,
                                    7591, 7668, 8208, 8434, 8862, 9209, 9730};

/* Transmission of the atmosphere of a star at each grid wavelength (0 < value <= 1). */
static void atmosphere(const double *wave, int n, double t, double log_z, float *pass)
{
  double x = log10(t);
  double jump = 1.10 * exp(-0.5 * pow((x - 3.965) / (x < 3.965 ? 0.13 : 0.25), 2.0));
  double metals = metal_strength(t) * pow(10.0, 0.38 * log_z);
  double tio = fmin(1.2, fmax(0.0, (4150.0 - t) / 500.0)) * pow(10.0, 0.4 * log_z);
  for (int i = 0; i < n; i++) {
    double w = wave[i], depth = metals * haze(w);
    depth += jump * (w < 3700.0 ? pow(w / 3700.0, 2.0) / (1.0 + exp((w - 3672.0) / 9.0)) : 0.0);
    if (tio > 0.0)
      for (size_t k = 0; k < sizeof TIO_HEAD_A / sizeof TIO_HEAD_A[0]; k++) {
        double d = w - TIO_HEAD_A[k];
        if (d > -6.0 && d < 700.0)
          depth += tio * (k < 8 ? 0.42 : 0.38) * exp(-fmax(d, 0.0) / 130.0) * fmin(1.0, (d + 6.0) / 12.0);
      }
    pass[i] = (float)exp(-depth);
  }
  double first = log(wave[0]), step = (log(wave[n - 1]) - first) / (n - 1);
  for (int k = 0; k < LINE_COUNT; k++) {
    const stellar_line *line = &LINES[k];
    double width = line->width_A * line_strength(line->kind, t, log_z);
    if (width < 0.01) continue;
    /* A line of depth D and shape s(d) absorbs D times the integral of s; deep ones saturate and widen instead. */
    double sigma = line->sigma_A, depth = width / (sigma * 2.5066);
    if (depth > 0.75) sigma *= depth / 0.75, depth = 0.75;
    double reach = 6.0 * sigma;
    int from = (int)((log(fmax(line->wave_A - reach, 1.0)) - first) / step),
        to = (int)((log(line->wave_A + reach) - first) / step);
    if (from < 0) from = 0;
    if (to > n - 1) to = n - 1;
    for (int i = from; i <= to; i++) {
      double d = (wave[i] - line->wave_A) / sigma;
      double shape = line->kind == HYDROGEN ? 0.6 * exp(-0.5 * d * d) + 0.4 / (1.0 + d * d) * (1.0 - d * d / 36.0)
                                            : exp(-0.5 * d * d);
      pass[i] *= (float)(1.0 - depth * shape);
    }
  }
}

/* Black body per unit bolometric luminosity: B(wave) / integral, 1/Angstrom. */
static double black_body(double wave_A, double t)
{
  double y = 1.43877688e8 / (wave_A * t);
  /* pi B / (sigma T^4) = 15 / pi^4 * y^4 / wave / (e^y - 1). */
  return 15.0 / (97.40909103400244) * y * y * y * y / (wave_A * expm1(y));
}

/* Share of a star's light absorbed by its atmosphere, over all wavelengths; below the grid the blended lines continue.
 */
static double taken(double t, double log_z, float *pass, double *wave, int n)
{
  for (int i = 0; i < n; i++) wave[i] = 912.0 * pow(11200.0 / 912.0, (double)i / (n - 1));
  atmosphere(wave, n, t, log_z, pass);
  double sum = 0.0, step = log(11200.0 / 912.0) / (n - 1);
  for (int i = 0; i < n; i++) sum += black_body(wave[i], t) * (1.0 - pass[i]) * wave[i] * step;
  return fmin(sum, 0.7);
}

/* ---------------------------------------------------------- populations */

/* Adds number * luminosity of one star to its two temperature bins, divided linearly in log T. */
static void add_star(double *share, double number, double log_l, double log_t)
{
  double u = (log_t - LOG_T_FIRST) / (LOG_T_LAST - LOG_T_FIRST) * (TEMPERATURES - 1);
  u = fmin(TEMPERATURES - 1.000001, fmax(0.0, u));
  int i = (int)u;
  double f = u - i, light = number * pow(10.0, log_l);
  share[i] += (1.0 - f) * light;
  share[i + 1] += f * light;
}

/* Luminosity per temperature bin of a population, per solar mass formed. */
static void population(double age_gyr, double log_z, double *share)
{
  const double step = 3.0 / MASS_STEPS;
  double mass = 0.0, log_turnoff = 2.0;
  for (int i = 0; i < TEMPERATURES; i++) share[i] = 0.0;
  for (int i = 0; i < MASS_STEPS; i++) {
    double log_m = -1.0 + (i + 0.5) * step;
    mass += chabrier(log_m) * pow(10.0, log_m) * step;
  }
  /* Lifetimes are a little shorter at low metallicity (less opaque, brighter). */
  double life_scale = pow(10.0, 0.12 * log_z);
  for (int i = 0; i < MASS_STEPS; i++) {
    double log_m = -1.0 + (i + 0.5) * step, life = lifetime_gyr(log_m) * life_scale;
    if (life < age_gyr) {
      log_turnoff = log_m - 0.5 * step;
      break;
    }
    double log_l, log_t, spent = age_gyr / life;
    main_sequence(log_m, &log_l, &log_t);
    /* On the main sequence a star brightens by 0.35 dex (more at the end) and, near its end, cools by a few per cent.
     */
    log_l += 0.18 * spent + 0.12 * spent * spent - 0.20 * log_z;
    log_t += (log_m < 0.1 ? 0.012 : -0.045) * spent * spent - 0.035 * log_z * (log_t < 3.95 ? 1.0 : 0.4);
    add_star(share, chabrier(log_m) * step / mass, log_l, log_t);
  }
  double log_l, log_t;
  main_sequence(log_turnoff, &log_l, &log_t);
  double slope = (log(lifetime_gyr(log_turnoff + 0.01)) - log(lifetime_gyr(log_turnoff - 0.01))) / 0.02;
  double births =
      chabrier(log_turnoff) / mass / (age_gyr * fabs(slope)); /* stars that leave the main sequence, 1/Gyr */
  double m_turnoff = pow(10.0, log_turnoff), top = log_l + 0.30 - 0.10 * log_z;
  double z_t = -0.012 - 0.07 * log_z;
  if (m_turnoff < 2.2) {
    /* Subgiants cross from the turn-off to the foot of the giant branch. */
    double foot_l = fmax(top + 0.1, 0.7), foot_t = 3.700 + z_t;
    double subgiant_gyr = m_turnoff < 1.3 ? 0.16 * age_gyr : 0.05 * age_gyr;
    for (int k = 0; k < 8; k++) {
      double f = (k + 0.5) / 8;
      add_star(share, births * subgiant_gyr / 8, top + f * (foot_l - top),
               log_t + f * (foot_t - log_t) - 0.035 * log_z * (1.0 - f));
    }
    /* Up the giant branch a hydrogen shell adds to the core: dt / dlnL = 73.7 Gyr Mc / (6 L), L = 2.3e5 Mc^6 (solar
     * units). */
    double tip = m_turnoff < 1.9 ? 3.38 : 2.6;
    for (double l = foot_l; l < tip; l += 0.05) {
      double light = pow(10.0, l + 0.025), core = pow(light / 2.3e5, 1.0 / 6.0);
      add_star(share, births * 73.7 * core / (6.0 * light) * 0.05 * 2.302585092994046, l + 0.025,
               3.683 - 0.047 * (l - 1.0) - 0.008 * fmax(0.0, l - 2.6) + z_t + 0.02 * (m_turnoff - 1.0));
    }
    /* Core helium: red clump, or a blue horizontal branch in old metal-poor populations; 0.1 Gyr at 50 Lsun. */
    double clump_t = log_z < -1.0 ? 3.80 : 3.682 + z_t;
    add_star(share, births * 0.10, 1.70, clump_t + 0.02 * (m_turnoff - 1.0));
    for (double l = 2.0; l < 3.7; l += 0.1) {
      double gyr = l < 3.0 ? 0.0016 : 0.00030; /* 16 Myr of early AGB, then 1.5 Myr of thermal pulses */
      add_star(share, births * gyr, l, 3.676 - 0.047 * (l - 1.0) - 0.012 * fmax(0.0, l - 2.6) + z_t);
    }
  } else if (m_turnoff < 9.0) {
    /* Core helium burning takes about a fifth of the main-sequence life: half of it as a blue, half as a red giant;
     * then the AGB. */
    double gyr = 0.18 * age_gyr;
    add_star(share, births * gyr * 0.05, top + 0.05, 3.80);
    add_star(share, births * gyr * 0.55, top - 0.10 + 0.15 * (log_turnoff - 0.34), 3.690 + z_t);
    add_star(share, births * gyr * 0.40, top - 0.05 + 0.15 * (log_turnoff - 0.34), 3.74 + 0.12 * (log_turnoff - 0.34));
    for (double l = 2.6; l < 4.2; l += 0.1) {
      double agb = l < 3.4 ? 0.0009 : 0.00045;
      if (l > top + 0.1)
        add_star(share, births * agb * fmin(1.0, age_gyr / 0.2), l,
                 3.665 - 0.047 * (l - 1.0) + 0.03 * log_turnoff + z_t);
    }
  } else {
    double gyr = 0.10 * age_gyr;
    add_star(share, births * gyr * 0.5, top + 0.1, 4.15);
    add_star(share, births * gyr * (m_turnoff < 40.0 ? 0.5 : 0.05), top + 0.05, 3.575 + z_t);
  }
}

double syz_calzetti(double wave_A)
{
  double u = 1.0e4 / wave_A; /* 1/micron */
  if (wave_A >= 6300.0) return 2.659 * (-1.857 + 1.040 * u) + 4.05;
  return 2.659 * (-2.156 + 1.509 * u - 0.198 * u * u + 0.011 * u * u * u) + 4.05;
}

syz_status syz_stellar_create(syz_stellar **out)
{
  static const double ages[SYZ_STELLAR_AGES] = {0.003, 0.007, 0.015, 0.032, 0.068, 0.14, 0.28, 0.5,
                                                0.8,   1.25,  2.0,   3.0,   4.5,   6.5,  9.0,  12.0};
  static const double metals[SYZ_STELLAR_METALS] = {-1.5, -0.75, -0.3, 0.0, 0.3};
  enum { COARSE = 3000 };
  syz_status st = SYZ_OK;
  syz_stellar *s = NULL;
  float *library = NULL, *pass = NULL;
  double *wave = NULL;
  *out = NULL;
  SYZ_ALLOC(s, "stellar", 1);
  SYZ_ALLOC(s->luminosity, "stellar populations", (size_t)SYZ_STELLAR_METALS * SYZ_STELLAR_AGES * SYZ_STELLAR_PIXELS);
  SYZ_ALLOC(library, "stellar library", (size_t)TEMPERATURES * SYZ_STELLAR_PIXELS);
  SYZ_ALLOC(pass, "stellar pass", SYZ_STELLAR_PIXELS);
  SYZ_ALLOC(wave, "stellar coarse grid", COARSE);
  for (int i = 0; i < SYZ_STELLAR_PIXELS; i++) {
    s->wave_A[i] = SYZ_STELLAR_FIRST_A * exp(SYZ_STELLAR_STEP * i);
    s->calzetti[i] = (float)syz_calzetti(s->wave_A[i]);
  }
  for (int a = 0; a < SYZ_STELLAR_AGES; a++) {
    s->age_gyr[a] = ages[a];
    s->age_edge_gyr[a] = a ? sqrt(ages[a - 1] * ages[a]) : 0.0;
    s->surviving[a] = 1.0 - 0.05 * log(1.0 + ages[a] / 1.4e-3);
  }
  s->age_edge_gyr[SYZ_STELLAR_AGES] = 14.0;
  for (int z = 0; z < SYZ_STELLAR_METALS; z++) {
    s->log_z[z] = metals[z];
    for (int k = 0; k < TEMPERATURES; k++) {
      double t = pow(10.0, LOG_T_FIRST + (LOG_T_LAST - LOG_T_FIRST) * k / (TEMPERATURES - 1));
      double back = 1.0 / (1.0 - taken(t, metals[z], pass, wave, COARSE));
      atmosphere(s->wave_A, SYZ_STELLAR_PIXELS, t, metals[z], pass);
      float *row = library + (size_t)k * SYZ_STELLAR_PIXELS;
      for (int i = 0; i < SYZ_STELLAR_PIXELS; i++) row[i] = (float)(back * black_body(s->wave_A[i], t) * pass[i]);
    }
    for (int a = 0; a < SYZ_STELLAR_AGES; a++) {
      double share[TEMPERATURES];
      float *sum = s->luminosity + ((size_t)z * SYZ_STELLAR_AGES + (size_t)a) * SYZ_STELLAR_PIXELS;
      population(ages[a], metals[z], share);
      for (int k = 0; k < TEMPERATURES; k++) {
        const float *row = library + (size_t)k * SYZ_STELLAR_PIXELS, f = (float)(YIELD * share[k]);
        for (int i = 0; i < SYZ_STELLAR_PIXELS; i++) sum[i] += f * row[i];
      }
    }
  }
  *out = s;
  s = NULL;
cleanup:
  syz_stellar_destroy(&s);
  syz_free(&library);
  syz_free(&pass);
  syz_free(&wave);
  return st;
}

void syz_stellar_destroy(syz_stellar **s)
{
  if (!*s) return;
  syz_free(&(*s)->luminosity);
  syz_free(s);
}

void syz_stellar_mix(const syz_stellar *s, const double *weight, double log_z, float *out)
{
  int z = 0;
  while (z < SYZ_STELLAR_METALS - 2 && log_z > s->log_z[z + 1]) z++;
  double f = fmin(1.0, fmax(0.0, (log_z - s->log_z[z]) / (s->log_z[z + 1] - s->log_z[z])));
  memset(out, 0, sizeof(float) * SYZ_STELLAR_PIXELS);
  for (int a = 0; a < SYZ_STELLAR_AGES; a++) {
    if (!(weight[a] > 0.0)) continue;
    float low = (float)(weight[a] * (1.0 - f)), high = (float)(weight[a] * f);
    const float *x = s->luminosity + ((size_t)z * SYZ_STELLAR_AGES + (size_t)a) * SYZ_STELLAR_PIXELS;
    const float *y = x + (size_t)SYZ_STELLAR_AGES * SYZ_STELLAR_PIXELS;
    for (int i = 0; i < SYZ_STELLAR_PIXELS; i++) out[i] += low * x[i] + high * y[i];
  }
}
