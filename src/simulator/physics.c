/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which galaxies a survey observes, and their physical properties.
 *
 * Redshift, mass and type come from a table: mass function x comoving volume x the probability to pass the magnitude
 * limit with a rough mass-to-light ratio. The exact limit is applied afterwards with the fluxes of the simulated
 * spectrum: galaxies that fail it are drawn again (simulator.c). Everything else follows from mass, type and redshift
 * through relations with their observed scatter:
 *
 *   mass function              double Schechter, Baldry et al. 2012 (MNRAS 421, 621)
 *   quiescent fraction         logistic in log mass, 1/2 near 10.6 (Peng et al. 2010, ApJ 721, 193; Muzzin et al. 2013,
 *                              ApJ 777, 18)
 *   main sequence              Speagle et al. 2014 (ApJS 214, 15) equation 28, scatter 0.25 dex, 8 % in the green
 * valley star-formation history     delayed tau, t exp(-t/tau), with tau solved from the specific rate; bulges old
 *   stellar metallicity        Gallazzi et al. 2005 (MNRAS 362, 41), scatter 0.12 dex
 *   gas metallicity            fundamental relation, Mannucci et al. 2010 (MNRAS 408, 2115), moved by -0.30 dex to the
 *                              scale of Marino et al. 2013 (A&A 559, A114), whose line ratios are used
 *   dust                       A(Halpha) with mass, Garn & Best 2010 (MNRAS 409, 421); stars 0.44 of the gas (Calzetti
 *                              et al. 2000); more when seen edge-on
 *   sizes                      van der Wel et al. 2014 (ApJ 788, 28), early and late types, with their evolution
 *   velocity dispersion        Zahid et al. 2016 (ApJ 832, 203)
 *   bars, arms, mergers        bars in a third of disks (Masters et al. 2011, MNRAS 411, 2026); arms in three quarters
 *                              of star-forming disks, two-armed most often (Hart et al. 2016, MNRAS 461, 3663);
 *                              mergers 6 % (Lotz et al. 2011)
 */
#include "simulator.h"

#include <math.h>
#include <string.h>

enum { Z_STEPS = 120, M_STEPS = 80, TYPES = 2 };
static const double M_FIRST = 8.4, M_LAST = 12.0;

struct sim_population {
  double z[2][Z_STEPS], dz[2]; /* bin centres of the flux-limited part and of the red galaxies */
  double m[M_STEPS], dm;
  double cumulative[2][Z_STEPS * M_STEPS * TYPES]; /* each ends at 1 */
  double lrg_share;
};

/* ----------------------------------------------------------- cosmology */

double sim_age_universe_gyr(double z)
{
  double om = 0.3, a = pow(1.0 + z, -1.5);
  return 977.8 / 70.0 * 2.0 / (3.0 * sqrt(1.0 - om)) * asinh(sqrt((1.0 - om) / om) * a);
}

static double expansion(double z) { return sqrt(0.3 * (1.0 + z) * (1.0 + z) * (1.0 + z) + 0.7); }

double sim_distance_mpc(double z)
{
  /* Simpson's rule on 64 intervals: relative error below 1e-9 for z < 1. */
  double sum = 0.0, h = z / 64.0;
  for (int i = 0; i <= 64; i++) sum += (i == 0 || i == 64 ? 1.0 : i % 2 ? 4.0 : 2.0) / expansion(h * i);
  return (1.0 + z) * 299792.458 / 70.0 * sum * h / 3.0;
}

/* ---------------------------------------------------------- population */

static double mass_function(double log_m)
{
  double x = pow(10.0, log_m - 10.66);
  return exp(-x) * (3.96e-3 * pow(x, -0.35) + 0.79e-3 * pow(x, -1.47)) * x;
}

static double quiescent_fraction(double log_m, double z)
{
  return 1.0 / (1.0 + exp(-(log_m - 10.6 - 0.25 * z) / 0.32));
}

static double gauss_integral(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }

/* Rough apparent magnitude: log M/L and colours of old and star-forming galaxies, and how they redden with z. */
static double rough_magnitude(double log_m, double z, bool quiescent, bool in_z)
{
  double log_ml = quiescent ? 0.38 : 0.05 + 0.12 * (log_m - 10.3);
  double absolute = 4.65 - 2.5 * (log_m - log_ml), k = quiescent ? 1.1 * z + 1.6 * z * z : 0.9 * z + 0.5 * z * z;
  double modulus = 5.0 * log10(sim_distance_mpc(z)) + 25.0;
  if (in_z) return absolute - (quiescent ? 0.62 : 0.42) + modulus + 0.5 * z;
  return absolute + modulus + k;
}

static const double LRG_LIMIT = 20.4, LRG_Z = 0.3;

syz_status sim_population_create(const syz_sim_config *c, sim_population **out)
{
  syz_status st = SYZ_OK;
  sim_population *p = NULL;
  *out = NULL;
  SYZ_ALLOC(p, "simulator population", 1);
  p->dm = (M_LAST - M_FIRST) / M_STEPS;
  for (int m = 0; m < M_STEPS; m++) p->m[m] = M_FIRST + (m + 0.5) * p->dm;
  p->lrg_share = c->redshift_max > LRG_Z + 0.02 ? c->lrg_fraction : 0.0;
  for (int part = 0; part < 2; part++) {
    double low = part == 1 ? fmax(LRG_Z, c->redshift_min) : c->redshift_min;
    if (low >= c->redshift_max) low = c->redshift_min;
    p->dz[part] = (c->redshift_max - low) / Z_STEPS;
    double sum = 0.0;
    for (int i = 0; i < Z_STEPS; i++) {
      double z = p->z[part][i] = low + (i + 0.5) * p->dz[part], d = sim_distance_mpc(z) / (1.0 + z);
      double volume = d * d / expansion(z);
      for (int m = 0; m < M_STEPS; m++)
        for (int type = 0; type < TYPES; type++) {
          double log_m = p->m[m], fq = quiescent_fraction(log_m, z),
                 weight = volume * mass_function(log_m) * (type ? fq : 1.0 - fq);
          if (part == 1)
            weight *=
                type && log_m > 10.9 ? gauss_integral((LRG_LIMIT - rough_magnitude(log_m, z, true, true)) / 0.25) : 0.0;
          else
            weight *= gauss_integral((c->magnitude_limit - rough_magnitude(log_m, z, type == 1, false)) / 0.4);
          sum += weight;
          p->cumulative[part][(i * M_STEPS + m) * TYPES + type] = sum;
        }
    }
    SYZ_REQUIRE(sum > 0.0 || (part == 1 && p->lrg_share == 0.0), SYZ_ERR_INPUT,
                "no galaxy is brighter than r = %g at redshifts %g to %g; use a fainter simulate.magnitude_limit",
                c->magnitude_limit, c->redshift_min, c->redshift_max);
    for (int k = 0; k < Z_STEPS * M_STEPS * TYPES; k++) p->cumulative[part][k] /= sum > 0.0 ? sum : 1.0;
  }
  *out = p;
  p = NULL;
cleanup:
  syz_free(&p);
  return st;
}

void sim_population_destroy(sim_population **p) { syz_free(p); }

/* ------------------------------------------------ star-formation history */

/* Share of a delayed-tau history's mass that has formed by the fraction u of its duration; x = duration / tau, may be
 * negative. */
static double formed_by(double x, double u)
{
  if (u <= 0.0) return 0.0;
  if (u >= 1.0) return 1.0;
  if (fabs(x) < 1e-3) return u * u;
  return (1.0 - (1.0 + x * u) * exp(-x * u)) / (1.0 - (1.0 + x) * exp(-x));
}

/* x that gives the present rate per formed mass, in units of 1 / duration; the rate falls with x. */
static double solve_history(double rate)
{
  double low = -12.0, high = 40.0;
  for (int i = 0; i < 48; i++) {
    double x = 0.5 * (low + high), r = fabs(x) < 1e-3 ? 2.0 : x * x * exp(-x) / (1.0 - (1.0 + x) * exp(-x));
    if (r > rate)
      low = x;
    else
      high = x;
  }
  return 0.5 * (low + high);
}

static void fill_history(const syz_stellar *s, double mass, double begin_gyr, double x, double *formed)
{
  for (int a = 0; a < SYZ_STELLAR_AGES; a++) {
    double newer = 1.0 - s->age_edge_gyr[a] / begin_gyr, older = 1.0 - s->age_edge_gyr[a + 1] / begin_gyr;
    formed[a] = mass * fmax(0.0, formed_by(x, newer) - formed_by(x, older));
  }
}

/* The PROVABGS bases: rate over the last 0.1 Gyr per formed mass (1/Gyr) of the recent one, mean ages (Gyr) of disk and
 * bulge mixes, from NMF_2basis_SFH_components_nowgt_lin_Nc4.txt at ages 9 to 13 Gyr; the other three form nothing now.
 */
static const double EMULATOR_RATE = 0.243, EMULATOR_AGE[PART_COUNT] = {9.0, 6.6, 2.4};

static void history(const syz_stellar *s, sim_draw *d, sim_galaxy *g, double sfr, bool has_emulator)
{
  double surviving = 0.62, formed = pow(10.0, g->log_m) / surviving, t = g->age_universe_gyr;
  double bulge = formed * g->bulge_mass_fraction, disk = formed - bulge;
  double begin_bulge = t * sim_between(d, 0.82, 0.95), begin_disk = t * sim_between(d, 0.70, 0.92);
  memset(g->formed, 0, sizeof g->formed);
  double x = solve_history(sfr * 1e9 / disk * begin_disk);
  fill_history(s, bulge, begin_bulge, sim_between(d, 9.0, 16.0), g->formed[PART_BULGE]);
  fill_history(s, disk, begin_disk, x, g->formed[PART_DISK]);
  /* Stars formed within 0.1 Gyr are in the arms. */
  for (int a = 0; a < SYZ_STELLAR_AGES && s->age_gyr[a] < 0.1; a++) {
    g->formed[PART_YOUNG][a] = g->formed[PART_DISK][a];
    g->formed[PART_DISK][a] = 0.0;
  }
  double alive = 0.0, all = 0.0, age = 0.0, young = 0.0, metal = 0.0;
  for (int k = 0; k < PART_COUNT; k++) {
    g->formed_total[k] = 0.0;
    for (int a = 0; a < SYZ_STELLAR_AGES; a++) {
      double w = g->formed[k][a];
      alive += w * s->surviving[a];
      all += w;
      age += w * s->age_gyr[a];
      metal += w * g->log_z[k];
      g->formed_total[k] += w;
      if (k == PART_YOUNG) young += w;
    }
  }
  /* Scales everything by a few per cent, to the exact stellar mass. */
  double scale = pow(10.0, g->log_m) / alive;
  for (int k = 0; k < PART_COUNT; k++) {
    g->formed_total[k] *= scale;
    for (int a = 0; a < SYZ_STELLAR_AGES; a++) g->formed[k][a] *= scale;
  }
  g->age_gyr = age / all;
  g->log_z_mean = metal / all;
  g->log_sfr = fmax(-5.0, log10(young * scale / 0.0976e9 + 1e-9));
  if (has_emulator) {
    /* Its recent basis spans 5 Gyr. It gets the share that gives the star-formation rate, at most 0.9 of the disk; the
     * rest is in older bases. */
    double disk_all = g->formed_total[PART_DISK] + g->formed_total[PART_YOUNG];
    double recent = fmin(0.9 * disk_all, pow(10.0, g->log_sfr) * 1e9 / EMULATOR_RATE);
    g->formed_total[PART_YOUNG] = recent;
    g->formed_total[PART_DISK] = disk_all - recent;
    g->log_sfr = fmax(-5.0, log10(recent * EMULATOR_RATE * 1e-9 + 1e-9));
    double sum = 0.0, weighted = 0.0;
    for (int k = 0; k < PART_COUNT; k++) {
      sum += g->formed_total[k];
      weighted += g->formed_total[k] * fmin(EMULATOR_AGE[k], 0.75 * t);
    }
    g->age_gyr = weighted / sum;
  }
}

/* -------------------------------------------------------------- shape */

static void shape(sim_draw *d, sim_galaxy *g, double kpc_per_arcsec)
{
  bool early = g->is_quiescent;
  double m = g->log_m - 10.7, size;
  if (early)
    size = 0.60 + 0.75 * m - 1.48 * log10((1.0 + g->z) / 1.25) + 0.12 * sim_normal(d);
  else
    size = 0.86 + 0.25 * m - 0.75 * log10((1.0 + g->z) / 1.25) + 0.16 * sim_normal(d);
  if (early && g->log_m < 10.2) size = fmax(size, 0.25 + 0.05 * sim_normal(d)); /* the relation flattens for dwarfs */
  double re = sim_clip(pow(10.0, size) / kpc_per_arcsec, 0.15, 25.0);
  g->position_angle = sim_between(d, 0.0, SYZ_PI);
  double bt = g->bulge_mass_fraction;
  double thick = sim_between(d, 0.15, 0.25);
  g->disk_q = sqrt(g->cos_i * g->cos_i * (1.0 - thick * thick) + thick * thick);
  g->disk_h = re * (early ? 1.45 : 1.08) / 1.678;
  double oblate = early && bt > 0.5 ? sim_clip(0.68 + 0.13 * sim_normal(d), 0.35, 1.0)
                                    : sim_clip(0.75 + 0.08 * sim_normal(d), 0.5, 1.0);
  g->bulge_q = sqrt(g->cos_i * g->cos_i * (1.0 - oblate * oblate) + oblate * oblate);
  g->bulge_re = early ? re * 0.85 : re * sim_clip(0.18 * exp(0.3 * sim_normal(d)), 0.08, 0.4);
  g->bulge_n =
      early ? sim_clip(4.0 + 0.8 * sim_normal(d) + 0.8 * m, 2.0, 6.0) : sim_clip(2.0 + 0.8 * sim_normal(d), 0.8, 4.0);
  /* The number of draws is always the same, whichever values are used. */
  double u_bar = sim_uniform(d), u_arms = sim_uniform(d), u_count = sim_uniform(d), u_merger = sim_uniform(d);
  g->has_bar = u_bar < (early ? 0.12 : 0.33) && bt < 0.6;
  g->bar_fraction = g->has_bar ? sim_between(d, 0.12, 0.28) : (sim_uniform(d), 0.0);
  g->bar_length = g->disk_h * sim_between(d, 1.0, 1.8);
  g->bar_q = sim_between(d, 0.25, 0.40);
  g->bar_angle = sim_between(d, 0.0, SYZ_PI);
  g->arms = 0;
  if (!early && u_arms < 0.75) g->arms = u_count < 0.08 ? 1 : u_count < 0.66 ? 2 : u_count < 0.86 ? 3 : 4;
  g->arm_pitch = sim_between(d, 12.0, 30.0) * SYZ_PI / 180.0 * (sim_uniform(d) < 0.5 ? 1.0 : -1.0);
  g->arm_phase = sim_between(d, 0.0, 2.0 * SYZ_PI);
  g->arm_width_power = sim_between(d, 1.5, 4.0);
  g->arm_contrast = sim_between(d, 0.25, 0.6);
  g->is_merger = u_merger < 0.06;
  g->companion_fraction = g->is_merger ? sim_between(d, 0.12, 0.40) : (sim_uniform(d), 0.0);
  double far = sim_between(d, 1.6, 3.0) * re, toward = sim_between(d, 0.0, 2.0 * SYZ_PI);
  g->companion_x = far * cos(toward);
  g->companion_y = far * sin(toward);
  g->companion_re = re * sim_between(d, 0.3, 0.7);
  g->companion_q = sim_between(d, 0.4, 0.9);
  g->companion_angle = sim_between(d, 0.0, SYZ_PI);
  g->tail_fraction = g->is_merger ? sim_between(d, 0.05, 0.15) : (sim_uniform(d), 0.0);
  g->tail_length = re * sim_between(d, 3.0, 6.0);
  g->tail_angle = toward + SYZ_PI + sim_between(d, -0.6, 0.6);
  g->tail_pitch = sim_between(d, 0.5, 1.3) * (sim_uniform(d) < 0.5 ? 1.0 : -1.0);
  g->tail_width = re * sim_between(d, 0.15, 0.35);
}

static bool is_not_above(const void *cumulative, const void *u)
{
  return !(*(const double *)cumulative > *(const double *)u);
}

void sim_galaxy_draw(const sim_population *p, const syz_stellar *s, const syz_sim_config *c, int64_t index, int attempt,
                     bool has_emulator, sim_galaxy *g)
{
  sim_draw physics = {syz_random_make(c->seed, SYZ_RANDOM_SIM_PHYSICS, (uint64_t)attempt, (uint64_t)index), 0},
           *d = &physics;
  sim_draw morphology = {syz_random_make(c->seed, SYZ_RANDOM_SIM_MORPHOLOGY, (uint64_t)attempt, (uint64_t)index), 0};
  memset(g, 0, sizeof *g);
  /* The kind of galaxy must not depend on the attempt: redrawing would otherwise favour the kind that passes the limit
   * more often. */
  sim_draw kind = {syz_random_make(c->seed, SYZ_RANDOM_SIM_PHYSICS, 1u << 20, (uint64_t)index), 0};
  int part = sim_uniform(&kind) < p->lrg_share ? 1 : 0;
  double u = sim_uniform(d);
  const int64_t last = Z_STEPS * M_STEPS * TYPES - 1, /* drawn when u reaches none before it */
      cell = syz_lower_bound(&u, p->cumulative[part], last, sizeof u, is_not_above);
  g->is_lrg = part == 1;
  g->is_quiescent = cell % TYPES == 1;
  g->log_m = p->m[cell / TYPES % M_STEPS] + p->dm * (sim_uniform(d) - 0.5);
  g->z = sim_clip(p->z[part][cell / TYPES / M_STEPS] + p->dz[part] * (sim_uniform(d) - 0.5), c->redshift_min,
                  c->redshift_max);
  g->distance_mpc = sim_distance_mpc(g->z);
  g->age_universe_gyr = sim_age_universe_gyr(g->z);
  double t = g->age_universe_gyr, x = g->log_m - 10.0;
  double log_sfr = (0.84 - 0.026 * t) * g->log_m - (6.51 - 0.11 * t) + 0.25 * sim_normal(d);
  bool green = sim_uniform(d) < 0.08;
  double quiet = -12.0 + 0.35 * sim_normal(d);
  if (g->is_quiescent)
    log_sfr = g->log_m + quiet;
  else if (green)
    log_sfr -= 0.8;
  g->bulge_mass_fraction = g->is_quiescent ? sim_clip(0.55 + 0.22 * x * (x > 0.0) + 0.15 * sim_normal(d), 0.15, 0.95)
                                           : sim_clip(0.10 + 0.16 * x + 0.10 * sim_normal(d), 0.0, 0.6);
  double metal = -0.15 + 0.45 * tanh((g->log_m - 10.2) / 0.75) * (g->log_m < 10.2 ? 1.5 : 0.65) + 0.12 * sim_normal(d);
  g->log_z[PART_BULGE] = sim_clip(metal + 0.02, -1.5, 0.3);
  g->log_z[PART_DISK] = sim_clip(metal - 0.05, -1.5, 0.3);
  g->log_z[PART_YOUNG] = sim_clip(metal + 0.05, -1.5, 0.3);
  double begin = g->log_m - 10.0 - 0.32 * log_sfr;
  g->oh12 = sim_clip((begin < 0.2 ? 8.90 + 0.47 * begin : 9.07) - 0.33 + 0.05 * sim_normal(d), 7.7, 8.85);
  g->cos_i = sim_uniform(d);
  double halpha = 0.91 + 0.77 * x + 0.11 * x * x - 0.09 * x * x * x,
         slab = pow(sim_clip(g->cos_i, 0.1, 1.0), -0.4) * 0.6;
  double dust = g->is_quiescent ? 0.05 * exp(0.5 * sim_normal(d))
                                : sim_clip(halpha, 0.15, 2.2) / 3.33 * slab * exp(0.25 * sim_normal(d));
  g->ebv_gas = sim_clip(dust, 0.0, 0.9);
  g->ebv[PART_DISK] = 0.44 * g->ebv_gas;
  g->ebv[PART_YOUNG] = 0.60 * g->ebv_gas;
  g->ebv[PART_BULGE] = 0.30 * g->ebv_gas;
  g->sigma_v = pow(
      10.0, sim_clip(2.07 + 0.403 * (x - 0.26) * (x < 0.26) + 0.293 * (x - 0.26) * (x >= 0.26) + 0.07 * sim_normal(d),
                     1.5, 2.55));
  g->is_agn = sim_uniform(d) < (g->log_m > 10.3 ? 0.06 : 0.005);
  g->log_agn = 40.3 + 0.5 * (g->log_m - 10.8) + 0.4 * sim_normal(d);
  history(s, d, g, pow(10.0, log_sfr), has_emulator);
  double kpc_per_arcsec = g->distance_mpc * 1000.0 / ((1.0 + g->z) * (1.0 + g->z)) * SYZ_PI / 648000.0;
  shape(&morphology, g, kpc_per_arcsec);
}
