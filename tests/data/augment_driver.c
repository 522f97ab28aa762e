/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What crops and masks are made of, as raw files for test_crops.py and test_masks.py.
 *
 *   augment_driver blur IMAGE TOP LEFT SIZE SIGMA OUT      float32 [152,152] -> float32 [size,size]
 *   augment_driver draws SEED GROUP CROP P_BLUR P_NOISE N OUT
 *       float64 [N,11]: top, left, turns, flips, blur, noise of places 0 .. N-1
 *   augment_driver make IMAGE SEED GROUP CROP SIZE N OUT
 *       per place: float64 [11] draw, float32 [3,3,size,size] cut, with noise, planes
 *   augment_driver set PATH SEED SIZE BLUR NOISE OUT
 *       through a loader, every object of a file: int64 number, float64 [11], float32 [3,size,size]
 *   augment_driver blocks CROPS SIDE PROBABILITY RATIO_MIN RATIO_MAX ASPECT_MIN SEED STEPS OUT
 *       uint8 [steps,crops,side,side]
 *   augment_driver runs TOKENS RUNS WIDTH SEED N OUT       uint8 [N,tokens]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crops.h"
#include "syzygy/comm.h"
#include "../../src/data/crops.h"

enum { S = SYZ_IMAGE_SIZE, NUMBERS = 5 + 2 * SYZ_BANDS };

static FILE *out;

static void put(const void *x, size_t n, size_t size)
{
  if (fwrite(x, size, n, out) != n) exit(4);
}

static void get(const char *path, float *x, size_t n)
{
  FILE *f = fopen(path, "rb");
  if (!f || fread(x, sizeof *x, n, f) != n) exit(3);
  fclose(f);
}

static void put_draw(const crop_draw *d)
{
  double x[NUMBERS] = {(double)d->top, (double)d->left, (double)d->turns, d->flips_x, d->flips_y};
  memcpy(x + 5, d->blur, sizeof d->blur);
  memcpy(x + 5 + SYZ_BANDS, d->noise, sizeof d->noise);
  put(x, NUMBERS, sizeof *x);
}

static int64_t whole(const char *text) { return strtoll(text, NULL, 10); }
static double real(const char *text) { return strtod(text, NULL); }

static void make(const char *path, uint64_t seed, int group, int64_t crop, int64_t size, int64_t n)
{
  syz_crops_augment a = {.blur_first = 1,
                         .blur_global = 0.9,
                         .blur_local = 0.5,
                         .noise_first = 1,
                         .noise_global = 0.9,
                         .noise_local = 0.5,
                         .flips = true,
                         .quarter_turns = true};
  a.size[group] = size;
  a.count[group] = crop + 1;
  static float image[SYZ_BANDS * S * S], cut[SYZ_BANDS * S * S], planes[SYZ_BANDS * S * S],
      scratch[(SYZ_BANDS + 1) * S * S];
  if (syz_crop_scratch(&a) * sizeof *scratch > sizeof scratch || !syz_crops_are_sound(&a)) exit(10);
  get(path, image, SYZ_BANDS * S * S);
  for (int64_t place = 0; place < n; place++) {
    crop_draw d;
    syz_crop_draw(&a, seed, 5, place, group, crop, &d);
    put_draw(&d);
    syz_crop_cut(&d, size, image, cut, scratch);
    put(cut, (size_t)(SYZ_BANDS * size * size), sizeof *cut);
    syz_crop_add_noise(&d, seed, 5, place, group, crop, size, cut);
    put(cut, (size_t)(SYZ_BANDS * size * size), sizeof *cut);
    syz_crop_make(&a, seed, 5, place, group, crop, image, planes, scratch);
    put(planes, (size_t)(SYZ_BANDS * size * size), sizeof *planes);
  }
}

static syz_status set(int *argc, char ***argv)
{
  syz_status st = SYZ_OK;
  syz_comm *world = NULL;
  syz_shardset *s = NULL;
  syz_loader *l = NULL;
  syz_batch b;
  const char *path = (*argv)[2];
  SYZ_TRY(syz_comm_start(argc, argv, &world));
  SYZ_TRY(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, false, &s));
  int64_t n = syz_shardset_size(s), size = whole((*argv)[4]);
  syz_crops_augment a = {.size = {size},
                         .count = {1},
                         .blur_first = real((*argv)[5]),
                         .noise_first = real((*argv)[6]),
                         .flips = true,
                         .quarter_turns = true};
  syz_loader_config c = {
      .sampler = {n, n, (uint64_t)whole((*argv)[3]), true}, .count = n, .last_step = 1, .crops = &a, .ahead = 1};
  SYZ_TRY(syz_loader_create(s, &c, &l));
  SYZ_TRY(syz_loader_next(l, &b, NULL));
  for (int64_t i = 0; i < n; i++) {
    crop_draw d;
    syz_crop_draw(&a, c.sampler.seed, 0, i, 0, 0, &d);
    put(&b.index[i], 1, sizeof *b.index);
    put_draw(&d);
    put(b.crop[0] + i * SYZ_BANDS * size * size, (size_t)(SYZ_BANDS * size * size), sizeof(float));
  }
cleanup:
  syz_loader_destroy(&l);
  syz_shardset_close(&s);
  syz_comm_finish(&world);
  return st;
}

static void blocks(const syz_block_masks *m, uint64_t seed, int64_t steps)
{
  uint8_t *mask = malloc((size_t)(m->side * m->side));
  for (int64_t i = 0; i < steps * m->crops; i++) {
    int64_t said = syz_block_mask(m, seed, i / m->crops, i % m->crops, mask);
    for (int64_t k = 0; k < m->side * m->side; k++) said -= mask[k];
    if (said) exit(10);
    put(mask, (size_t)(m->side * m->side), 1);
  }
  free(mask);
}

int main(int argc, char **argv)
{
  const char *mode = argc > 1 ? argv[1] : "";
  if (argc < 8 || !(out = fopen(argv[argc - 1], "wb"))) return 2;
  if (!strcmp(mode, "blur")) {
    static float image[S * S], piece[S * S];
    int64_t size = whole(argv[5]);
    get(argv[2], image, S * S);
    syz_blur_cut(image, whole(argv[3]), whole(argv[4]), size, real(argv[6]), piece);
    put(piece, (size_t)(size * size), sizeof *piece);
  } else if (!strcmp(mode, "draws")) {
    double blur = real(argv[5]), noise = real(argv[6]);
    int group = (int)whole(argv[3]);
    int64_t crop = whole(argv[4]);
    syz_crops_augment a = {.size = {144, 60}, .count = {2, 8}, .flips = true, .quarter_turns = true};
    *(group  ? &a.blur_local
      : crop ? &a.blur_global
             : &a.blur_first) = blur; /* the others stay 0: the right one must be used */
    *(group ? &a.noise_local : crop ? &a.noise_global : &a.noise_first) = noise;
    for (int64_t place = 0; place < whole(argv[7]); place++) {
      crop_draw d;
      syz_crop_draw(&a, (uint64_t)whole(argv[2]), 3, place, group, crop, &d);
      put_draw(&d);
    }
  } else if (!strcmp(mode, "make")) {
    make(argv[2], (uint64_t)whole(argv[3]), (int)whole(argv[4]), whole(argv[5]), whole(argv[6]), whole(argv[7]));
  } else if (!strcmp(mode, "set")) {
    if (set(&argc, &argv) != SYZ_OK) {
      fprintf(stderr, "%s\n", syz_error_text());
      return 3;
    }
  } else if (!strcmp(mode, "blocks") && argc == 11) {
    const syz_block_masks m = {whole(argv[2]), whole(argv[3]), real(argv[4]),
                               real(argv[5]),  real(argv[6]),  real(argv[7])};
    blocks(&m, (uint64_t)whole(argv[8]), whole(argv[9]));
  } else if (!strcmp(mode, "runs")) {
    int64_t tokens = whole(argv[2]);
    uint8_t *mask = malloc((size_t)tokens);
    for (int64_t place = 0; place < whole(argv[6]); place++) {
      if (syz_run_mask(tokens, whole(argv[3]), whole(argv[4]), (uint64_t)whole(argv[5]), 2, place, mask) !=
          whole(argv[3]) * whole(argv[4]))
        return 10;
      put(mask, (size_t)tokens, 1);
    }
    free(mask);
  } else
    return 2;
  return fclose(out) == 0 ? 0 : 4;
}
