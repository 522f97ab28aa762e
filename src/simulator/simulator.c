/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulator: one object at a time, each a pure function of (configuration, index).
 *
 * A galaxy is drawn, its spectrum computed, and its flux compared with the survey's limit; a fainter one is drawn again
 * with the next attempt number (1.12 attempts on average). Then the same spectrum is observed by the spectrograph and,
 * through the filters, by the camera. Objects live in the cells of the Legacy Surveys' real bricks, so identifiers,
 * names and positions are of the real form.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "photometry.h"
#include "simulator.h"

enum {
  ATTEMPTS_MAX = 40,
  RELEASE = 9010,
  FIRST_BRICK_ROW = 369,
  CELL_MARGIN = (SYZ_BRICK_SIZE - SYZ_BRICK_CELLS * SYZ_IMAGE_SIZE) / 2
};

struct syz_simulator {
  syz_sim_config config;
  sim_population *population;
  sim_spectrograph *spectrograph;
  sim_camera *camera;
  float *model; /* [SYZ_SIM_WAVES] */
  bool has_emulator;
};

syz_sim_config syz_sim_config_default(void)
{
  return (syz_sim_config){.seed = 0,
                          .redshift_min = 0.02,
                          .redshift_max = 0.6,
                          .magnitude_limit = 19.5,
                          .lrg_fraction = 0.3,
                          .image_noise = 1.0,
                          .spectrum_noise = 1.0,
                          .neighbours = 1.0,
                          .artefacts = 0.03,
                          .exposure_s = 600.0};
}

const char *syz_sim_label_name(int label)
{
#define SYZ_SIM_NAME(name, unit, meaning) #name,
  static const char *const names[] = {SYZ_SIM_LABELS(SYZ_SIM_NAME)};
#undef SYZ_SIM_NAME
  return label >= 0 && label < SYZ_SIM_LABEL_COUNT ? names[label] : "";
}

const char *syz_sim_label_unit(int label)
{
#define SYZ_SIM_UNIT(name, unit, meaning) unit,
  static const char *const units[] = {SYZ_SIM_LABELS(SYZ_SIM_UNIT)};
#undef SYZ_SIM_UNIT
  return label >= 0 && label < SYZ_SIM_LABEL_COUNT ? units[label] : "";
}

static syz_status check_config(const syz_sim_config *c)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(c->redshift_min >= 0.002 && c->redshift_max <= 0.62 && c->redshift_min < c->redshift_max, SYZ_ERR_INPUT,
              "simulated redshifts %g to %g: 0.002 <= min < max <= 0.62 is needed", c->redshift_min, c->redshift_max);
  SYZ_REQUIRE(c->magnitude_limit >= 14.0 && c->magnitude_limit <= 23.0, SYZ_ERR_INPUT,
              "magnitude limit %g is not within 14 to 23", c->magnitude_limit);
  SYZ_REQUIRE(c->lrg_fraction >= 0.0 && c->lrg_fraction <= 1.0 && c->artefacts >= 0.0 && c->artefacts <= 1.0,
              SYZ_ERR_INPUT, "shares of red galaxies %g and artefacts %g are not within 0 to 1", c->lrg_fraction,
              c->artefacts);
  SYZ_REQUIRE(c->image_noise >= 0.0 && c->image_noise <= 100.0 && c->spectrum_noise >= 0.0 &&
                  c->spectrum_noise <= 100.0 && c->neighbours >= 0.0 && c->neighbours <= 10.0,
              SYZ_ERR_INPUT, "noise %g, %g (0 to 100) or neighbours %g (0 to 10) out of range", c->image_noise,
              c->spectrum_noise, c->neighbours);
  SYZ_REQUIRE(c->exposure_s >= 10.0 && c->exposure_s <= 1.0e5, SYZ_ERR_INPUT, "exposure %g s is not within 10 to 1e5",
              c->exposure_s);
cleanup:
  return st;
}

syz_status syz_simulator_create(const syz_sim_config *config, const syz_emulator *emulator, syz_simulator **out)
{
  syz_status st = SYZ_OK;
  syz_simulator *s = NULL;
  *out = NULL;
  SYZ_TRY(check_config(config));
  SYZ_ALLOC(s, "simulator", 1);
  s->config = *config;
  s->has_emulator = emulator != NULL;
  SYZ_ALLOC(s->model, "simulator model", SYZ_SIM_WAVES);
  SYZ_TRY(sim_population_create(config, &s->population));
  SYZ_TRY(sim_spectrograph_create(emulator, &s->spectrograph));
  SYZ_TRY(sim_camera_create(&s->camera));
  *out = s;
  s = NULL;
cleanup:
  syz_simulator_destroy(&s);
  return st;
}

void syz_simulator_destroy(syz_simulator **s)
{
  if (!*s) return;
  sim_population_destroy(&(*s)->population);
  sim_spectrograph_destroy(&(*s)->spectrograph);
  sim_camera_destroy(&(*s)->camera);
  syz_free(&(*s)->model);
  syz_free(s);
}

/* --------------------------------------------------------------- bricks */

/* Columns of a row of bricks. Rows are centred on multiples of 0.25 degrees from pole to pole, each
 * cut into the even number of columns that keeps them 0.25 degrees wide or less: 662,174 bricks. Source:
 * desihub/desiutil brick.py. */
static int brick_columns(int row)
{
  double near = fmax(0.0, fabs(-90.0 + 0.25 * row) - 0.125); /* the edge nearer to the equator */
  return row == 0 || row == 720 ? 1 : (int)(ceil(360.0 * cos(near * SYZ_PI / 180.0) / 0.25 / 2.0 - 1e-9) * 2.0);
}

void syz_simulator_brick(int64_t brick, syz_sim_object *o)
{
  int before = 0, row = 0, columns = 1;
  for (; row < FIRST_BRICK_ROW; columns = brick_columns(++row)) before += columns;
  for (; brick >= columns && row < 700; columns = brick_columns(++row)) {
    before += columns;
    brick -= columns;
  }
  int column = (int)((brick + 600) % columns);
  o->brick_id = before + column + 1;
  o->brick_ra = 360.0 * (column + 0.5) / columns;
  o->brick_dec = -90.0 + 0.25 * row;
  snprintf(o->brick_name, sizeof o->brick_name, "%04d%c%03d", (int)(10.0 * o->brick_ra + 1e-9) % 3600,
           o->brick_dec < 0 ? 'm' : 'p', (int)(10.0 * fabs(o->brick_dec) + 1e-9) % 1000);
}

/* The sky position of a brick's pixel (from 0): inverse gnomonic projection, North up, East left (Calabretta & Greisen
 * 2002, section 5.1.3). */
static void pixel_to_sky(const syz_sim_object *o, double x, double y, double *ra, double *dec)
{
  const double rad = SYZ_PI / 180.0, step = SYZ_PIXEL_ARCSEC / 3600.0 * rad, middle = 0.5 * (SYZ_BRICK_SIZE - 1);
  double xi = -(x - middle) * step, eta = (y - middle) * step, d0 = o->brick_dec * rad;
  double down = cos(d0) - eta * sin(d0);
  *ra = fmod(o->brick_ra + atan2(xi, down) / rad + 360.0, 360.0);
  *dec = atan2(sin(d0) + eta * cos(d0), hypot(xi, down)) / rad;
}

static void place(const syz_sim_config *c, int64_t index, syz_sim_object *o)
{
  enum { CELLS = SYZ_BRICK_CELLS * SYZ_BRICK_CELLS };
  sim_draw sky = {syz_random_make(c->seed, SYZ_RANDOM_SIM_SKY, 2, (uint64_t)index), 0};
  syz_simulator_brick(index / CELLS, o);
  o->cell = (int)(index % CELLS);
  o->brick_x = CELL_MARGIN + SYZ_IMAGE_SIZE * (o->cell % SYZ_BRICK_CELLS);
  o->brick_y = CELL_MARGIN + SYZ_IMAGE_SIZE * (o->cell / SYZ_BRICK_CELLS);
  /* Within half a pixel of the middle, as cutouts around catalogue positions are. */
  o->x = 0.5 * (SYZ_IMAGE_SIZE - 1) + sim_between(&sky, -0.45, 0.45);
  o->y = 0.5 * (SYZ_IMAGE_SIZE - 1) + sim_between(&sky, -0.45, 0.45);
  pixel_to_sky(o, o->brick_x + o->x, o->brick_y + o->y, &o->ra, &o->dec);
  o->object_id = (int64_t)RELEASE << 42 | (int64_t)o->brick_id << 22 | (int64_t)(o->cell + 1);
}

/* --------------------------------------------------------------- object */

static void describe(const sim_galaxy *g, const sim_spectra *light, syz_sim_object *o)
{
  float *l = o->label;
  double r_bulge = light->flux[PART_BULGE][1], r_all = o->flux[1], bt = r_all > 0.0 ? r_bulge / r_all : 0.0;
  l[SYZ_SIM_redshift] = (float)g->z;
  l[SYZ_SIM_log_mstar] = (float)g->log_m;
  l[SYZ_SIM_log_sfr] = (float)g->log_sfr;
  l[SYZ_SIM_log_ssfr] = (float)(g->log_sfr - g->log_m);
  l[SYZ_SIM_age_gyr] = (float)g->age_gyr;
  l[SYZ_SIM_log_z] = (float)g->log_z_mean;
  l[SYZ_SIM_oh12] = (float)g->oh12;
  l[SYZ_SIM_ebv] = (float)g->ebv[PART_DISK];
  l[SYZ_SIM_velocity_dispersion] = (float)g->sigma_v;
  l[SYZ_SIM_bulge_fraction] = (float)bt;
  l[SYZ_SIM_inclination] = (float)(acos(g->cos_i) * 180.0 / SYZ_PI);
  l[SYZ_SIM_position_angle] = (float)(g->position_angle * 180.0 / SYZ_PI);
  l[SYZ_SIM_half_light_radius] = (float)(bt * g->bulge_re + (1.0 - bt) * 1.67835 * g->disk_h);
  l[SYZ_SIM_sersic_n] = (float)g->bulge_n;
  l[SYZ_SIM_has_bar] = g->has_bar;
  l[SYZ_SIM_n_arms] = (float)g->arms;
  l[SYZ_SIM_is_merger] = g->is_merger;
  l[SYZ_SIM_is_quiescent] = g->is_quiescent;
  l[SYZ_SIM_is_agn] = g->is_agn;
  for (int b = 0; b < SYZ_BANDS; b++) l[SYZ_SIM_mag_g + b] = (float)syz_magnitude(o->flux[b]);
}

void syz_simulator_make(syz_simulator *s, int64_t index, syz_sim_object *o)
{
  sim_galaxy g;
  const sim_spectra *light = NULL;
  const syz_sim_config *c = &s->config;
  syz_pulse();
  place(c, index, o);
  for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    sim_galaxy_draw(s->population, sim_spectrograph_stellar(s->spectrograph), c, index, attempt, s->has_emulator, &g);
    light = sim_spectrograph_shine(s->spectrograph, &g);
    for (int b = 0; b < SYZ_BANDS; b++)
      o->flux[b] = light->flux[PART_BULGE][b] + light->flux[PART_DISK][b] + light->flux[PART_YOUNG][b];
    bool passes = g.is_lrg ? syz_magnitude(o->flux[2]) < 20.4 : syz_magnitude(o->flux[1]) < c->magnitude_limit;
    if (passes) break;
  }
  for (int i = 0; i < SYZ_SIM_WAVES; i++)
    s->model[i] = light->part[PART_BULGE][i] + light->part[PART_DISK][i] + light->part[PART_YOUNG][i];
  describe(&g, light, o);
  if (o->model) memcpy(o->model, s->model, sizeof(float) * SYZ_SIM_WAVES);
  if (o->spectrum || o->ivar || o->arm_flux || o->arm_ivar || o->arm_sigma_A)
    sim_spectrograph_observe(s->spectrograph, c, index, s->model, o);
  sim_camera_expose(s->camera, c, index, &g, light, o);
}
