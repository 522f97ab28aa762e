/* SPDX-License-Identifier: BSD-3-Clause */
/** Common to the parts of the simulator: physics -> spectrum -> image -> files, each in a file of its own; private to
 * this room. */
#pragma once

#include "stellar.h"
#include "syzygy/numbers.h"
#include "syzygy/simulator.h"

#define SYZ_PI 3.14159265358979323846

/** The parts of a galaxy that have a spectrum of their own. */
enum { PART_BULGE, PART_DISK, PART_YOUNG, PART_COUNT };

/** Random numbers drawn one after another from one stream: the result of a seed depends on the order of calls. */
typedef struct sim_draw {
  syz_random stream;
  uint32_t n;
} sim_draw;
static inline double sim_uniform(sim_draw *d) { return syz_random_uniform(&d->stream, d->n++); }
static inline double sim_normal(sim_draw *d) { return syz_random_normal(&d->stream, d->n++); }
static inline double sim_between(sim_draw *d, double a, double b) { return a + (b - a) * sim_uniform(d); }
static inline double sim_clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

/** Everything that is drawn about a galaxy. */
typedef struct sim_galaxy {
  double z, distance_mpc; /**< redshift, luminosity distance */
  double log_m, log_sfr, age_gyr, log_z_mean, oh12;
  bool is_quiescent, is_agn, is_lrg;
  double log_z[PART_COUNT];                    /**< metallicity of each part's stars */
  double ebv[PART_COUNT], ebv_gas;             /**< colour excesses */
  double formed[PART_COUNT][SYZ_STELLAR_AGES]; /**< solar masses formed in each age bin */
  double formed_total[PART_COUNT];             /**< the emulator's spectrum is multiplied by it */
  double age_universe_gyr;
  double sigma_v; /**< km/s */
  double log_agn; /**< log10 of the nucleus' narrow Halpha in erg/s */
  double bulge_mass_fraction;
  /* Shape; angles in radians, lengths in arcsec. */
  double cos_i, position_angle;
  double bulge_re, bulge_n, bulge_q;
  double disk_h, disk_q;
  bool has_bar;
  double bar_fraction, bar_length, bar_angle, bar_q;
  int arms;
  double arm_pitch, arm_phase, arm_width_power, arm_contrast;
  bool is_merger;
  double companion_fraction, companion_x, companion_y, companion_re, companion_q, companion_angle;
  double tail_fraction, tail_length, tail_angle, tail_pitch, tail_width;
} sim_galaxy;

/** Table of observable galaxies by redshift; see physics.c. */
typedef struct sim_population sim_population;
syz_status sim_population_create(const syz_sim_config *c, sim_population **out);
void sim_population_destroy(sim_population **p);
/** Draw a galaxy; `attempt`: number of earlier draws that failed the survey's limit. */
void sim_galaxy_draw(const sim_population *p, const syz_stellar *s, const syz_sim_config *c, int64_t index, int attempt,
                     bool has_emulator, sim_galaxy *g);
/** Age of the Universe at z in Gyr, flat LCDM with H0 = 70, Omega_m = 0.3. */
double sim_age_universe_gyr(double z);
/** Luminosity distance, Mpc. */
double sim_distance_mpc(double z);

/** Spectra of the parts. */
typedef struct sim_spectra {
  float *part[PART_COUNT];            /**< [SYZ_SIM_WAVES] 1e-17 erg/s/cm2/Angstrom, observed frame, noise-free */
  double flux[PART_COUNT][SYZ_BANDS]; /**< nanomaggy */
} sim_spectra;
typedef struct sim_spectrograph sim_spectrograph;
syz_status sim_spectrograph_create(const syz_emulator *emulator, sim_spectrograph **out);
void sim_spectrograph_destroy(sim_spectrograph **s);
const syz_stellar *sim_spectrograph_stellar(const sim_spectrograph *s);
/** Spectra and fluxes of the parts of g; borrowed until the next call. */
const sim_spectra *sim_spectrograph_shine(sim_spectrograph *s, const sim_galaxy *g);
/** Arms and joined spectrum of object `index` from the model [SYZ_SIM_WAVES]; outputs of o that are NULL are left out.
 */
void sim_spectrograph_observe(sim_spectrograph *s, const syz_sim_config *c, int64_t index, const float *model,
                              syz_sim_object *o);

typedef struct sim_camera sim_camera;
syz_status sim_camera_create(sim_camera **out);
void sim_camera_destroy(sim_camera **c);
/** Image, segment map and labels of the observation, from the fluxes of the parts. */
void sim_camera_expose(sim_camera *c, const syz_sim_config *config, int64_t index, const sim_galaxy *g,
                       const sim_spectra *light, syz_sim_object *o);

/** Brick number `brick` (0, 1, ...) of the simulated survey: objects [529 brick, 529 (brick + 1)). Fills the brick
 * fields only. */
void syz_simulator_brick(int64_t brick, syz_sim_object *o);
