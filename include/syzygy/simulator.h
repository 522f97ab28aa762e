/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * simulator: galaxies with known physics as surveys would see them: image, spectrum and truth of each object, and files
 * in the form that surveys deliver.
 *
 * Nothing here knows of MPI and nothing is collective. Units are those of sky.h. An object is a pure function of the
 * configuration and its number.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/sky.h" /* the common grids and bands, which are part of this face */

/* ------------------------------------------------------------- simulator */

/** Truth of a simulated object, in the order of every label row: X(name, unit, meaning). */
#define SYZ_SIM_LABELS(X)                                                                                              \
  X(redshift, "", "redshift")                                                                                          \
  X(log_mstar, "log10(solMass)", "mass in stars and remnants")                                                         \
  X(log_sfr, "log10(solMass/yr)", "star-formation rate over the last 0.1 Gyr, at least -5")                            \
  X(log_ssfr, "log10(1/yr)", "star-formation rate per stellar mass")                                                   \
  X(age_gyr, "Gyr", "mass-weighted age of the stars")                                                                  \
  X(log_z, "log10(Zsun)", "mass-weighted metallicity of the stars")                                                    \
  X(oh12, "", "12 + log10(O/H) of the gas")                                                                            \
  X(ebv, "mag", "colour excess of the starlight of the disk")                                                          \
  X(velocity_dispersion, "km/s", "stellar velocity dispersion")                                                        \
  X(bulge_fraction, "", "share of the bulge in the r-band light")                                                      \
  X(inclination, "deg", "0 is face-on")                                                                                \
  X(position_angle, "deg", "of the major axis, from image rows upwards towards lower columns")                         \
  X(half_light_radius, "arcsec", "of the disk and bulge together, along the major axis")                               \
  X(sersic_n, "", "index of the bulge")                                                                                \
  X(has_bar, "", "1 when a bar was drawn")                                                                             \
  X(n_arms, "", "number of spiral arms, 0 without")                                                                    \
  X(is_merger, "", "1 when a companion and a tidal tail were drawn")                                                   \
  X(is_quiescent, "", "1 below the main sequence of star formation")                                                   \
  X(is_agn, "", "1 with the narrow lines of an active nucleus")                                                        \
  X(mag_g, "mag", "AB, whole galaxy, without noise")                                                                   \
  X(mag_r, "mag", "AB, whole galaxy, without noise")                                                                   \
  X(mag_z, "mag", "AB, whole galaxy, without noise")                                                                   \
  X(psf_fwhm_g, "arcsec", "seeing")                                                                                    \
  X(psf_fwhm_r, "arcsec", "seeing")                                                                                    \
  X(psf_fwhm_z, "arcsec", "seeing")                                                                                    \
  X(noise_g, "nanomaggy", "sky noise of a pixel")                                                                      \
  X(noise_r, "nanomaggy", "sky noise of a pixel")                                                                      \
  X(noise_z, "nanomaggy", "sky noise of a pixel")                                                                      \
  X(n_neighbours, "", "stars and galaxies drawn on the stamp besides this one")                                        \
  X(artefact, "", "0 none, 1 satellite trail, 2 bleed trail, 3 cosmic ray")

typedef enum syz_sim_label {
#define SYZ_SIM_ENUM(name, unit, meaning) SYZ_SIM_##name,
  SYZ_SIM_LABELS(SYZ_SIM_ENUM)
#undef SYZ_SIM_ENUM
      SYZ_SIM_LABEL_COUNT
} syz_sim_label;

/** What contributes most light to a pixel of the segment map, where the r band exceeds the noise. */
typedef enum syz_segment {
  SYZ_SEGMENT_BACKGROUND,
  SYZ_SEGMENT_BULGE,
  SYZ_SEGMENT_DISK,
  SYZ_SEGMENT_BAR,
  SYZ_SEGMENT_ARMS,
  SYZ_SEGMENT_COMPANION, /**< merging companion and tidal tail */
  SYZ_SEGMENT_NEIGHBOUR, /**< unrelated stars and galaxies */
  SYZ_SEGMENT_ARTEFACT
} syz_segment;

enum {
  SYZ_ARMS = 3,          /**< DESI's B, R, Z */
  SYZ_ARM_PIXELS = 7958, /**< B, R, Z one after another: 2751 + 2326 + 2881 */
  SYZ_SIM_WAVES = 9250,  /**< noise-free spectrum: 3600 + 0.8 i Angstrom, to 10999, so that it covers the z filter */
  SYZ_BRICK_CELLS = 23,  /**< stamps per row of a simulated brick: 23 x 23 without overlap */
  SYZ_BRICK_SIZE = 3600  /**< pixels per side of a brick */
};
/** First pixel and number of pixels of each arm on the common grid: B 3600-5800, R 5760-7620, Z 7520-9824 A
 * (src/sky/README.md "DESI spectra"). */
extern const int syz_arm_first[SYZ_ARMS], syz_arm_count[SYZ_ARMS];

/** A stellar-population emulator as plain arrays (PROVABGS, Hahn & Tinker 2023): four wavelength bins, each a network;
 * see src/simulator/emulator.c. */
enum { SYZ_EMULATOR_BINS = 4, SYZ_EMULATOR_INPUTS = 9, SYZ_EMULATOR_LAYERS_MAX = 16 };
typedef struct syz_emulator_bin {
  int n_layers;                           /**< weight matrices, <= SYZ_EMULATOR_LAYERS_MAX */
  int width[SYZ_EMULATOR_LAYERS_MAX + 1]; /**< width[0] = 9 inputs, width[n_layers] = principal components */
  float *weight[SYZ_EMULATOR_LAYERS_MAX]; /**< [width[l], width[l+1]] */
  float *bias[SYZ_EMULATOR_LAYERS_MAX], *alpha[SYZ_EMULATOR_LAYERS_MAX],
      *beta[SYZ_EMULATOR_LAYERS_MAX];     /**< the last layer has no alpha, beta */
  float *input_shift, *input_scale;       /**< [9] */
  float *pca_shift, *pca_scale;           /**< [width[n_layers]] */
  float *pca;                             /**< [width[n_layers], n_wave] */
  float *spectrum_shift, *spectrum_scale; /**< [n_wave] */
  double *wave_A;                         /**< [n_wave] rest frame, increasing, longer than in the previous bin */
  int n_wave;
} syz_emulator_bin;
typedef struct syz_emulator {
  syz_emulator_bin bin[SYZ_EMULATOR_BINS]; /**< all arrays from syz_alloc, owned by the emulator */
} syz_emulator;
void syz_emulator_destroy(syz_emulator **e);

typedef struct syz_sim_config {
  uint64_t seed;
  double redshift_min, redshift_max;  /**< 0.002 <= min < max <= 0.62 */
  double magnitude_limit;             /**< r of the flux-limited part */
  double lrg_fraction;                /**< fraction of luminous red galaxies (redshift > 0.3, z band < 20.4) */
  double image_noise, spectrum_noise; /**< factor of the survey's noise; 0: no noise (ivar is then as for 1) */
  double neighbours;                  /**< factor of the surface density on the sky; 0: none */
  double artefacts;                   /**< fraction of stamps with an artefact */
  double exposure_s;                  /**< typical effective exposure of a spectrum */
} syz_sim_config;
/** Redshift 0.02 - 0.6, r < 19.5, 30 % red galaxies, noise and neighbours 1, artefacts 0.03, 600 s; seed 0. */
syz_sim_config syz_sim_config_default(void);

/** One simulated object. The caller provides the arrays; those not wanted are NULL. */
typedef struct syz_sim_object {
  int64_t object_id; /**< DESI TARGETID: RELEASE 9010, brick, cell + 1 */
  double ra, dec;    /**< degrees */
  int32_t brick_id;  /**< of the Legacy Surveys' real tiling */
  char brick_name[12];
  double brick_ra, brick_dec;
  int cell;               /**< 0 .. 528 in the brick, row by row */
  int brick_x, brick_y;   /**< position of the stamp's first pixel in the brick */
  double x, y;            /**< galaxy's centre in the stamp, in pixels from 0 */
  double flux[SYZ_BANDS]; /**< nanomaggy, whole galaxy */
  float label[SYZ_SIM_LABEL_COUNT];
  float *image;       /**< [3,152,152] nanomaggy */
  uint8_t *segment;   /**< [152,152] syz_segment */
  float *spectrum;    /**< [7781] arms joined: ivar-weighted where they overlap */
  float *ivar;        /**< [7781] */
  float *arm_flux;    /**< [7958] */
  float *arm_ivar;    /**< [7958] */
  float *arm_sigma_A; /**< [7958] line-spread sigma, Angstrom */
  float *model;       /**< [9250] noise-free spectrum */
} syz_sim_object;

/** The simulated universe: tables and scratch. One per thread. */
typedef struct syz_simulator syz_simulator;
/** `emulator` is borrowed; NULL: the simulator's own stellar populations. SYZ_ERR_INPUT for a configuration out of
 * range, SYZ_ERR_MEMORY. */
syz_status syz_simulator_create(const syz_sim_config *config, const syz_emulator *emulator, syz_simulator **out);
void syz_simulator_destroy(syz_simulator **s);
/** Make object `index` >= 0, a pure function of (configuration, index). Cannot fail. */
void syz_simulator_make(syz_simulator *s, int64_t index, syz_sim_object *o);
const char *syz_sim_label_name(int label);
const char *syz_sim_label_unit(int label);

/**
 * Simulate objects [first, first + n), all of one brick (SYZ_ERR_INPUT otherwise), and write to `folder` the files that
 * surveys would deliver: Legacy Surveys images and inverse variances of g, r, z, a Tractor table, a DESI coadd with its
 * redrock file, and a table of the truth. Names and formats: src/simulator/survey.c. `files`: their names; NULL: not
 * wanted. SYZ_ERR_WRITE, SYZ_ERR_MEMORY.
 */
typedef struct syz_survey_files {
  char name[16][256]; /**< below the folder */
  int n;
} syz_survey_files;
syz_status syz_simulator_write_survey(syz_simulator *s, int64_t first, int64_t n, const char *folder,
                                      syz_survey_files *files);
