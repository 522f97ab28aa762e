/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Crops of a stamp for self-distillation (AstroCLIP's astrodino/data/augmentations.py and astro_augmentations.py; the
 * fits are those of georgestein/ssl-legacysurvey, decals_augmentations.py).
 *
 * The published code cuts first and blurs the crop with mirrored edges. Here the blur also uses the pixels around the
 * crop where the stamp has them, as worse seeing would; only at the stamp's own edge it mirrors. So a crop is cut out
 * of a blurred stamp. Symmetries commute with the blur and do not change the noise's distribution, so they are applied
 * with the cut.
 */
#include <math.h>
#include <string.h>

#include "crops.h"
#include "shardset.h"

enum {
  S = SYZ_IMAGE_SIZE,
  CROPS = 1 << 12, /* most crops per object and group: the range reserved in a stream's number */
  /* Draws of a crop's stream. */
  DRAW_TURN = 0,
  DRAW_FLIP_X,
  DRAW_FLIP_Y,
  DRAW_TOP,
  DRAW_LEFT,
  DRAW_BLUR,
  DRAW_NOISE,
  DRAW_BLUR_LEVELS,
  DRAW_NOISE_LEVELS = DRAW_BLUR_LEVELS + 2 * SYZ_BANDS
};

/* A level of blur or noise in the survey: exp(log(scale) + shape n) + loc with n standard normal. */
typedef struct lognormal {
  double shape, loc, scale;
} lognormal;
/* The survey's fits of PSF (sigma, pixels) and noise (sigma, nanomaggy) in g, r, z: src/model/README.md "DINOv2
 * pretraining". */
static const lognormal survey_psf[SYZ_BANDS] = {
    {0.2109966, 1.0807153, 1.3153171}, {0.3008485, 1.2394326, 0.9164757}, {0.3471172, 1.1928363, 0.8233702}};
static const lognormal survey_noise[SYZ_BANDS] = {
    {0.2264926, -0.0006735, 0.0037602}, {0.2431146, -0.0023663, 0.0067417}, {0.1334844, -0.0143416, 0.0260779}};

bool syz_crops_are_sound(const syz_crops_augment *a)
{
  const double p[] = {a->blur_first, a->blur_global, a->blur_local, a->noise_first, a->noise_global, a->noise_local};
  bool is_sound = a->count[0] > 0 || a->count[1] > 0;
  for (int g = 0; g < SYZ_CROP_GROUPS; g++)
    is_sound = is_sound && a->count[g] >= 0 && a->count[g] <= CROPS &&
               (a->count[g] == 0 || (a->size[g] >= 1 && a->size[g] <= S));
  for (size_t k = 0; k < sizeof p / sizeof *p; k++) is_sound = is_sound && p[k] >= 0 && p[k] <= 1;
  return is_sound;
}

static uint64_t stream_of(int64_t place, int group, int64_t crop)
{
  return ((uint64_t)place * SYZ_CROP_GROUPS + (uint64_t)group) * CROPS + (uint64_t)crop;
}

/* Per band: draw two levels from the fit; sigma is added in quadrature to reach the second from the first. */
static void draw_sigmas(const syz_random *r, uint32_t draw, const lognormal fit[SYZ_BANDS], double sigma[SYZ_BANDS])
{
  for (uint32_t b = 0; b < SYZ_BANDS; b++) {
    const lognormal *f = &fit[b];
    double level[2];
    for (uint32_t k = 0; k < 2; k++)
      level[k] = exp(log(f->scale) + f->shape * syz_random_normal(r, draw + 2 * b + k)) + f->loc;
    double more = level[1] * level[1] - level[0] * level[0];
    sigma[b] = more > 0 ? sqrt(more) : 0;
  }
}

void syz_crop_draw(const syz_crops_augment *a, uint64_t seed, int64_t step, int64_t place, int group, int64_t crop,
                   crop_draw *out)
{
  syz_random r = syz_random_make(seed, SYZ_RANDOM_CROP, (uint64_t)step, stream_of(place, group, crop));
  double blur = group ? a->blur_local : crop ? a->blur_global : a->blur_first;
  double noise = group ? a->noise_local : crop ? a->noise_global : a->noise_first;
  uint64_t places = (uint64_t)(S - a->size[group] + 1);
  *out = (crop_draw){.top = (int64_t)syz_random_below(&r, DRAW_TOP, places),
                     .left = (int64_t)syz_random_below(&r, DRAW_LEFT, places)};
  if (a->quarter_turns) out->turns = syz_random_below(&r, DRAW_TURN, 4);
  if (a->flips) {
    out->flips_x = syz_random_below(&r, DRAW_FLIP_X, 2);
    out->flips_y = syz_random_below(&r, DRAW_FLIP_Y, 2);
  }
  if (syz_random_uniform(&r, DRAW_BLUR) < blur) draw_sigmas(&r, DRAW_BLUR_LEVELS, survey_psf, out->blur);
  if (syz_random_uniform(&r, DRAW_NOISE) < noise) draw_sigmas(&r, DRAW_NOISE_LEVELS, survey_noise, out->noise);
}

/* out[y][x] = from[y down + x right]: the strides select any symmetry of the square. */
static void copy_square(const float *from, int64_t down, int64_t right, int64_t size, float *out)
{
  if (right == 1) {
    for (int64_t y = 0; y < size; y++) memcpy(out + y * size, from + y * down, (size_t)size * sizeof *out);
  } else if (right == -1) {
    for (int64_t y = 0; y < size; y++)
      for (int64_t x = 0; x < size; x++) out[y * size + x] = from[y * down - x];
  } else {
    for (int64_t y = 0; y < size; y++)
      for (int64_t x = 0; x < size; x++) out[y * size + x] = from[y * down + x * right];
  }
}

void syz_crop_cut(const crop_draw *draw, int64_t size, const float *image, float *cut, float *scratch)
{
  for (int64_t b = 0; b < SYZ_BANDS; b++) {
    const float *from = image + b * SET_PLANE + draw->top * S + draw->left;
    int64_t right = 1, down = S, end = size - 1;
    if (draw->blur[b] > 0) {
      syz_blur_cut(image + b * SET_PLANE, draw->top, draw->left, size, draw->blur[b], scratch);
      from = scratch;
      down = size;
    }
    for (uint64_t t = 0; t < draw->turns; t++) { /* out[y][x] = in[x][end - y], as in augment.c */
      int64_t before = right;
      from += end * right;
      right = down;
      down = -before;
    }
    if (draw->flips_x) {
      from += end * right;
      right = -right;
    }
    if (draw->flips_y) {
      from += end * down;
      down = -down;
    }
    copy_square(from, down, right, size, cut + b * size * size);
  }
}

void syz_crop_add_noise(const crop_draw *draw, uint64_t seed, int64_t step, int64_t place, int group, int64_t crop,
                        int64_t size, float *cut)
{
  for (int64_t b = 0; b < SYZ_BANDS; b++) {
    uint64_t number = stream_of(place, group, crop) * SYZ_BANDS + (uint64_t)b;
    syz_random r = syz_random_make(seed, SYZ_RANDOM_CROP_NOISE, (uint64_t)step, number);
    if (draw->noise[b] > 0)
      syz_random_add_normal(&r, (float)draw->noise[b], cut + b * size * size, (size_t)(size * size));
  }
}

size_t syz_crop_scratch(const syz_crops_augment *a)
{
  int64_t largest = 0;
  for (int g = 0; g < SYZ_CROP_GROUPS; g++)
    if (a->count[g] > 0 && a->size[g] > largest) largest = a->size[g];
  return (size_t)((SYZ_BANDS + 1) * largest * largest); /* a crop before colours, a blurred band */
}

void syz_crop_make(const syz_crops_augment *a, uint64_t seed, int64_t step, int64_t place, int group, int64_t crop,
                   const float *image, float *planes, float *scratch)
{
  crop_draw draw;
  SYZ_ASSERT(group >= 0 && group < SYZ_CROP_GROUPS && crop >= 0 && crop < CROPS && a->size[group] >= 1 &&
             a->size[group] <= S);
  int64_t size = a->size[group], plane = size * size;
  syz_crop_draw(a, seed, step, place, group, crop, &draw);
  syz_crop_cut(&draw, size, image, scratch, scratch + SYZ_BANDS * plane);
  syz_crop_add_noise(&draw, seed, step, place, group, crop, size, scratch);
  syz_colour_map(planes, scratch, plane);
}
