/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The image of a galaxy: its parts are drawn with their own profiles, added in each band with the fluxes of their own
 * spectra, blurred by the seeing, and given neighbours and noise.
 *
 * Each part is drawn once, with total flux 1, on a canvas wider than the stamp; a band's image is a weighted sum of
 * parts, so colours inside the galaxy follow the stellar populations and the whole adds up to the integrated
 * photometry. Profiles are Sersic (bulge, disk n = 1, companion), Ferrers (bar), logarithmic spirals (arms), a chain of
 * Gaussians (tidal tail). Pixels near the centre are sampled finely; a part that lies wholly on the canvas is rescaled
 * to its exact flux (a few 1e-4), a wider one keeps its analytic normalisation and loses the flux outside.
 *
 * Seeing: three concentric Gaussians in the proportions of a Moffat profile with beta near 3, each separable. Seeing
 * and noise levels of g, r, z: the Legacy Surveys' log-normal fits (src/model/README.md "DINOv2 pretraining").
 * Measured: 2.5 ms per object for all of this on one core of a Zen 5.
 */
#include "canvas.h"

#include <math.h>
#include <string.h>

enum { LAYER_BULGE, LAYER_DISK, LAYER_BAR, LAYER_ARMS, LAYER_COMPANION, LAYER_COUNT };

/* log-normal fits: shape, loc, scale; seeing is a Gaussian sigma in pixels, noise in nanomaggies. */
static const double SEEING[SYZ_BANDS][3] = {
    {0.2109966, 1.0807153, 1.3153171}, {0.3008485, 1.2394326, 0.9164757}, {0.3471172, 1.1928363, 0.8233702}};
static const double NOISE[SYZ_BANDS][3] = {
    {0.2264926, -0.0006735, 0.0037602}, {0.2431146, -0.0023663, 0.0067417}, {0.1334844, -0.0143416, 0.0260779}};

struct sim_camera {
  float *layer[LAYER_COUNT];   /* [CANVAS, CANVAS] flux 1 */
  float *neighbour[SYZ_BANDS]; /* [CANVAS, CANVAS] nanomaggy */
  float *sum, *across;         /* [CANVAS, CANVAS] and the row pass of a convolution */
  float *blurred;              /* [LAYER_COUNT + 1, STAMP, STAMP] for the segment map */
  float *stamp;                /* [BANDS, STAMP, STAMP] */
  float *normal;               /* [STAMP, STAMP] */
  uint8_t *artefact;           /* [STAMP, STAMP] */
};

syz_status sim_camera_create(sim_camera **out)
{
  syz_status st = SYZ_OK;
  sim_camera *c = NULL;
  *out = NULL;
  SYZ_ALLOC(c, "camera", 1);
  for (int l = 0; l < LAYER_COUNT; l++) SYZ_ALLOC(c->layer[l], "camera layer", CANVAS * CANVAS);
  for (int b = 0; b < SYZ_BANDS; b++) SYZ_ALLOC(c->neighbour[b], "camera neighbours", CANVAS * CANVAS);
  SYZ_ALLOC(c->sum, "camera sum", CANVAS * CANVAS);
  SYZ_ALLOC(c->across, "camera rows", CANVAS * CANVAS);
  SYZ_ALLOC(c->blurred, "camera segments", (LAYER_COUNT + 1) * STAMP * STAMP);
  SYZ_ALLOC(c->stamp, "camera stamp", SYZ_BANDS * STAMP * STAMP);
  SYZ_ALLOC(c->normal, "camera noise", STAMP * STAMP);
  SYZ_ALLOC(c->artefact, "camera artefacts", STAMP * STAMP);
  *out = c;
  c = NULL;
cleanup:
  sim_camera_destroy(&c);
  return st;
}

void sim_camera_destroy(sim_camera **c)
{
  if (!*c) return;
  for (int l = 0; l < LAYER_COUNT; l++) syz_free(&(*c)->layer[l]);
  for (int b = 0; b < SYZ_BANDS; b++) syz_free(&(*c)->neighbour[b]);
  syz_free(&(*c)->sum);
  syz_free(&(*c)->across);
  syz_free(&(*c)->blurred);
  syz_free(&(*c)->stamp);
  syz_free(&(*c)->normal);
  syz_free(&(*c)->artefact);
  syz_free(c);
}

/* --------------------------------------------------------------- seeing */

/* Weights and widths (in units of the nominal sigma) of the three Gaussians; the sum has the FWHM of a Gaussian of the
 * nominal sigma. */
static const double PSF_WEIGHT[3] = {0.70, 0.25, 0.05}, PSF_WIDTH[3] = {0.9500, 1.5676, 3.2301};

/* out [STAMP, STAMP] (+)= weight * Gaussian(sigma) applied to canvas. */
static void blur(sim_camera *c, const float *canvas, double sigma, double weight, bool adds, float *out)
{
  float kernel[2 * MARGIN + 1];
  int reach = (int)ceil(4.0 * sigma);
  if (reach > MARGIN) reach = MARGIN;
  double sum = 0.0;
  for (int k = -reach; k <= reach; k++) sum += exp(-0.5 * k * k / (sigma * sigma));
  for (int k = -reach; k <= reach; k++) kernel[k + reach] = (float)(exp(-0.5 * k * k / (sigma * sigma)) / sum);
  for (int y = MARGIN - reach; y < MARGIN + STAMP + reach; y++) {
    float *restrict row = c->across + y * CANVAS;
    const float *restrict in = canvas + y * CANVAS + MARGIN - reach;
    for (int x = 0; x < STAMP; x++) row[x] = 0.0f;
    for (int k = 0; k <= 2 * reach; k++) {
      float a = kernel[k];
      for (int x = 0; x < STAMP; x++) row[x] += a * in[x + k];
    }
  }
  for (int y = 0; y < STAMP; y++) {
    float *restrict row = out + y * STAMP;
    if (!adds)
      for (int x = 0; x < STAMP; x++) row[x] = 0.0f;
    for (int k = 0; k <= 2 * reach; k++) {
      float a = (float)weight * kernel[k];
      const float *restrict in = c->across + (y + MARGIN - reach + k) * CANVAS;
      for (int x = 0; x < STAMP; x++) row[x] += a * in[x];
    }
  }
}

/* --------------------------------------------------------------- layers */

static void draw_layers(sim_camera *c, const sim_galaxy *g, double x, double y)
{
  const double px = 1.0 / SYZ_PIXEL_ARCSEC;
  sim_ellipse bulge = {x, y, g->bulge_re * px, g->bulge_q, g->position_angle},
              disk = {x, y, g->disk_h * px, g->disk_q, g->position_angle};
  sim_ellipse disk_half = disk;
  disk_half.radius *= 1.67835; /* half-light radius of an exponential in scale lengths */
  for (int l = 0; l < LAYER_COUNT; l++) memset(c->layer[l], 0, sizeof(float) * CANVAS * CANVAS);
  if (g->formed_total[PART_BULGE] > 0.0) sim_draw_sersic(c->layer[LAYER_BULGE], &bulge, g->bulge_n, 1.0);
  sim_draw_sersic(c->layer[LAYER_DISK], &disk_half, 1.0, 1.0);
  if (g->has_bar) sim_draw_bar(c->layer[LAYER_BAR], &disk, g->bar_length * px, g->bar_q, g->bar_angle);
  if (g->arms) sim_draw_arms(c->layer[LAYER_ARMS], &disk, g->arms, g->arm_pitch, g->arm_phase, g->arm_width_power);
  if (g->is_merger) {
    sim_ellipse companion = {x + g->companion_x * px, y + g->companion_y * px, g->companion_re * px, g->companion_q,
                             g->companion_angle};
    sim_draw_sersic(c->layer[LAYER_COMPANION], &companion, 1.5, g->companion_fraction);
    sim_draw_tail(c->layer[LAYER_COMPANION], x, y, g->tail_length * px, g->tail_angle, g->tail_pitch,
                  g->tail_width * px, g->tail_fraction);
  }
}

/* The flux of each layer in a band. */
static void mix_of_band(const sim_galaxy *g, const sim_spectra *light, int b, double mix[LAYER_COUNT])
{
  const double(*flux)[SYZ_BANDS] = light->flux;
  double total = flux[PART_BULGE][b] + flux[PART_DISK][b] + flux[PART_YOUNG][b];
  double main_share = 1.0 - g->companion_fraction - g->tail_fraction,
         old_in_arms = g->arms ? 0.35 * g->arm_contrast : 0.0;
  double bar = g->bar_fraction, smooth_disk = flux[PART_DISK][b] * (1.0 - bar);
  mix[LAYER_BULGE] = main_share * flux[PART_BULGE][b];
  mix[LAYER_DISK] = main_share * (smooth_disk * (1.0 - old_in_arms) + (g->arms ? 0.0 : flux[PART_YOUNG][b]));
  mix[LAYER_BAR] = main_share * flux[PART_DISK][b] * bar;
  mix[LAYER_ARMS] = main_share * (g->arms ? flux[PART_YOUNG][b] + smooth_disk * old_in_arms : 0.0);
  mix[LAYER_COMPANION] = g->is_merger ? total : 0.0; /* the layer holds the shares of companion and tail */
}

/* ----------------------------------------------------------- neighbours */

/* Stars and galaxies of r = 17 to 23.5; counts per square arcminute and slope after Capak et al. 2007 (ApJS 172, 99)
 * figure 6. */
static int draw_neighbours(sim_camera *c, const syz_sim_config *config, int64_t index, double x, double y)
{
  sim_draw stream = {syz_random_make(config->seed, SYZ_RANDOM_SIM_NEIGHBOUR, 0, (uint64_t)index), 0}, *d = &stream;
  for (int b = 0; b < SYZ_BANDS; b++) memset(c->neighbour[b], 0, sizeof(float) * CANVAS * CANVAS);
  double side = CANVAS * SYZ_PIXEL_ARCSEC / 60.0, expected = 24.0 * side * side * config->neighbours;
  /* Poisson by multiplying uniforms: expected is about 18. */
  int n = -1;
  for (double p = 1.0, limit = exp(-fmin(expected, 300.0)); p > limit; n++) p *= 1.0 - sim_uniform(d);
  int on_stamp = 0;
  for (int i = 0; i < n; i++) {
    double px = sim_between(d, -MARGIN, STAMP + MARGIN), py = sim_between(d, -MARGIN, STAMP + MARGIN);
    double slope = 0.33, faint = 23.5, bright = 17.0;
    double r = faint + log10(pow(10.0, slope * (bright - faint)) +
                             (1.0 - pow(10.0, slope * (bright - faint))) * sim_uniform(d)) /
                           slope;
    bool is_star = sim_uniform(d) < sim_clip(0.75 - 0.13 * (r - 17.0), 0.1, 0.75);
    double gr = is_star ? sim_between(d, 0.3, 1.5) : sim_clip(0.75 + 0.3 * sim_normal(d), 0.0, 1.8);
    double rz =
        is_star ? 0.1 + 0.75 * gr * gr * sim_between(d, 0.7, 1.3) : sim_clip(0.55 + 0.25 * sim_normal(d), -0.2, 1.5);
    double re = 0.45 * pow(10.0, -0.12 * (r - 22.0)) * exp(0.35 * sim_normal(d)) / SYZ_PIXEL_ARCSEC;
    double q = sim_between(d, 0.3, 1.0), angle = sim_between(d, 0.0, SYZ_PI);
    if (r < 19.5 && hypot(px - x, py - y) < 25.0)
      continue; /* next to a bright star this galaxy would not be the target */
    double flux[SYZ_BANDS] = {pow(10.0, 0.4 * (22.5 - r - gr)), pow(10.0, 0.4 * (22.5 - r)),
                              pow(10.0, 0.4 * (22.5 - r + rz))};
    if (is_star)
      sim_draw_star(c->neighbour, px, py, flux);
    else
      sim_draw_small_galaxy(c->neighbour, px, py, re, q, angle, flux);
    on_stamp += px >= 0.0 && px < STAMP && py >= 0.0 && py < STAMP;
  }
  return on_stamp;
}

/* ------------------------------------------------------------ artefacts */

static void add_trail(sim_camera *c, int band, double x0, double y0, double angle, double length, double width,
                      double peak)
{
  double ux = cos(angle), uy = sin(angle);
  for (int y = 0; y < STAMP; y++)
    for (int x = 0; x < STAMP; x++) {
      double along = (x - x0) * ux + (y - y0) * uy, off = (y - y0) * ux - (x - x0) * uy;
      if (fabs(along) > length) continue;
      double a = peak * exp(-0.5 * off * off / (width * width));
      c->stamp[(band * STAMP + y) * STAMP + x] += (float)a;
      if (a > 0.25 * peak) c->artefact[y * STAMP + x] = 1;
    }
}

/* Returns which artefact (0 none): 1 satellite trail, 2 bleed trail of a saturated star, 3 cosmic ray. */
static int add_artefact(sim_camera *c, const syz_sim_config *config, int64_t index, const double *sigma,
                        const double *seeing)
{
  sim_draw stream = {syz_random_make(config->seed, SYZ_RANDOM_SIM_ARTEFACT, 0, (uint64_t)index), 0}, *d = &stream;
  memset(c->artefact, 0, STAMP * STAMP);
  if (!(sim_uniform(d) < config->artefacts)) return 0;
  double kind = sim_uniform(d);
  int band = (int)(3.0 * sim_uniform(d));
  double x = sim_between(d, 0.0, STAMP), y = sim_between(d, 0.0, STAMP), angle = sim_between(d, 0.0, SYZ_PI);
  if (kind < 0.4) {
    add_trail(c, band, x, y, angle, 1e4, 1.3 * seeing[band], sigma[band] * exp(sim_between(d, log(4.0), log(60.0))));
    return 1;
  }
  if (kind < 0.7) {
    double column = x < STAMP / 2 ? sim_clip(x, 0.0, 45.0) : sim_clip(x, STAMP - 46.0, STAMP - 1.0),
           peak = 60.0 * sigma[2];
    double flux = pow(10.0, 0.4 * (22.5 - sim_between(d, 12.5, 14.5)));
    for (int b = 0; b < SYZ_BANDS; b++)
      for (int v = 0; v < STAMP; v++)
        for (int u = 0; u < STAMP; u++) {
          /* A Moffat profile of beta 2.5 that saturates. */
          double r2 = ((u - column) * (u - column) + (v - y) * (v - y)) / (4.0 * seeing[b] * seeing[b]);
          double a = fmin(flux * 1.5 / (4.0 * SYZ_PI * seeing[b] * seeing[b]) * pow(1.0 + r2, -2.5), peak * 4.0);
          c->stamp[(b * STAMP + v) * STAMP + u] += (float)a;
          if (a > peak) c->artefact[v * STAMP + u] = 1;
        }
    for (int b = 0; b < SYZ_BANDS; b++) add_trail(c, b, column, y, SYZ_PI / 2.0, 1e4, 1.2, peak * (b == 2 ? 1.0 : 0.5));
    return 2;
  }
  add_trail(c, band, x, y, angle, sim_between(d, 3.0, 14.0), 0.5,
            sigma[band] * exp(sim_between(d, log(20.0), log(300.0))));
  return 3;
}

/* --------------------------------------------------------- segment map */

static void segment(sim_camera *c, const double mix[LAYER_COUNT], double seeing, double threshold, uint8_t *map)
{
  static const uint8_t name[LAYER_COUNT + 1] = {SYZ_SEGMENT_BULGE, SYZ_SEGMENT_DISK,      SYZ_SEGMENT_BAR,
                                                SYZ_SEGMENT_ARMS,  SYZ_SEGMENT_COMPANION, SYZ_SEGMENT_NEIGHBOUR};
  const int pixels = STAMP * STAMP;
  bool shows[LAYER_COUNT + 1];
  for (int l = 0; l <= LAYER_COUNT; l++) {
    shows[l] = l == LAYER_COUNT || mix[l] > 0.0;
    if (shows[l])
      blur(c, l < LAYER_COUNT ? c->layer[l] : c->neighbour[1], seeing, l < LAYER_COUNT ? mix[l] : 1.0, false,
           c->blurred + l * pixels);
  }
  for (int i = 0; i < pixels; i++) {
    float best = 0.0f, all = 0.0f;
    int who = 0;
    for (int l = 0; l <= LAYER_COUNT; l++) {
      if (!shows[l]) continue;
      float a = c->blurred[l * pixels + i];
      all += a;
      if (a > best) best = a, who = l;
    }
    map[i] = c->artefact[i] ? SYZ_SEGMENT_ARTEFACT : all > (float)threshold ? name[who] : SYZ_SEGMENT_BACKGROUND;
  }
}

/* ------------------------------------------------------------- exposure */

void sim_camera_expose(sim_camera *c, const syz_sim_config *config, int64_t index, const sim_galaxy *g,
                       const sim_spectra *light, syz_sim_object *o)
{
  sim_draw sky = {syz_random_make(config->seed, SYZ_RANDOM_SIM_SKY, 1, (uint64_t)index), 0}, *d = &sky;
  double seeing[SYZ_BANDS], sigma[SYZ_BANDS], mix[SYZ_BANDS][LAYER_COUNT];
  for (int b = 0; b < SYZ_BANDS; b++) {
    seeing[b] = sim_clip(exp(log(SEEING[b][2]) + SEEING[b][0] * sim_normal(d)) + SEEING[b][1], 1.3, 5.0);
    sigma[b] = fmax(exp(log(NOISE[b][2]) + NOISE[b][0] * sim_normal(d)) + NOISE[b][1], 5e-4);
    o->label[SYZ_SIM_psf_fwhm_g + b] = (float)(2.3548 * seeing[b] * SYZ_PIXEL_ARCSEC);
    o->label[SYZ_SIM_noise_g + b] = (float)(sigma[b] * (config->image_noise > 0.0 ? config->image_noise : 1.0));
    mix_of_band(g, light, b, mix[b]);
  }
  o->label[SYZ_SIM_n_neighbours] = o->label[SYZ_SIM_artefact] = 0.0f;
  if (!o->image && !o->segment) return;
  draw_layers(c, g, o->x, o->y);
  o->label[SYZ_SIM_n_neighbours] = (float)draw_neighbours(c, config, index, o->x, o->y);
  for (int b = 0; b < SYZ_BANDS; b++) {
    memcpy(c->sum, c->neighbour[b], sizeof(float) * CANVAS * CANVAS);
    for (int l = 0; l < LAYER_COUNT; l++) {
      float a = (float)mix[b][l];
      if (a > 0.0f)
        for (int i = 0; i < CANVAS * CANVAS; i++) c->sum[i] += a * c->layer[l][i];
    }
    for (int k = 0; k < 3; k++)
      blur(c, c->sum, seeing[b] * PSF_WIDTH[k], PSF_WEIGHT[k], k > 0, c->stamp + b * STAMP * STAMP);
  }
  o->label[SYZ_SIM_artefact] = (float)add_artefact(c, config, index, sigma, seeing);
  if (o->segment) segment(c, mix[1], seeing[1], sigma[1], o->segment);
  if (!o->image) return;
  for (int b = 0; b < SYZ_BANDS; b++) {
    const float *in = c->stamp + b * STAMP * STAMP;
    float *out = o->image + b * STAMP * STAMP, s = (float)(sigma[b] * config->image_noise);
    if (!(s > 0.0f)) {
      memcpy(out, in, sizeof(float) * STAMP * STAMP);
      continue;
    }
    syz_random noise = syz_random_make(config->seed, SYZ_RANDOM_SIM_IMAGE_NOISE, (uint64_t)b, (uint64_t)index);
    syz_random_fill_normal(&noise, c->normal, STAMP * STAMP);
    for (int i = 0; i < STAMP * STAMP; i++) out[i] = in[i] + s * c->normal[i];
  }
}
