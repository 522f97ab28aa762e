/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Masks of pretraining: rectangles of patches (DINOv2's data/masking.py and data/collate.py, after BEiT) and runs of
 * spectrum tokens (AstroCLIP's models/specformer.py, _mask_seq). Every mask is a function of (seed, step, its number in
 * the global batch).
 */
#include <math.h>
#include <string.h>

#include "syzygy/data.h"
#include "syzygy/numbers.h"

enum { PATCHES_MIN = 4, ATTEMPTS = 10 };

/* The published stratification: share `probability` of the crops, rounded down, and one stratum of ratios for each of
 * them. */
static int64_t masked_crops(const syz_block_masks *m) { return (int64_t)((double)m->crops * m->probability); }

/* Edge `i` of the strata: linspace(ratio_min, ratio_max, masked + 1). */
static double edge(const syz_block_masks *m, int64_t i)
{
  return m->ratio_min + (m->ratio_max - m->ratio_min) * ((double)i / (double)masked_crops(m));
}

typedef struct draws {
  syz_random stream;
  uint32_t used;
} draws;

static double uniform(draws *d, double low, double high)
{
  return low + (high - low) * syz_random_uniform(&d->stream, d->used++);
}

/* Add one rectangle with between 1 and `most` new patches, within ten attempts; returns the number of new patches. A
 * shape that does not fit, or a rectangle with no or too many new patches, is a failed attempt, as in the published
 * code; rounding is half to even, as there. */
static int64_t add_block(const syz_block_masks *m, draws *d, int64_t most, uint8_t *mask)
{
  const double log_aspect = -log(m->aspect_min);
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    double area = uniform(d, PATCHES_MIN, (double)most), aspect = exp(uniform(d, -log_aspect, log_aspect));
    int64_t height = (int64_t)nearbyint(sqrt(area * aspect)), width = (int64_t)nearbyint(sqrt(area / aspect));
    if (height >= m->side || width >= m->side) continue;
    int64_t top = (int64_t)syz_random_below(&d->stream, d->used++, (uint64_t)(m->side - height + 1));
    int64_t left = (int64_t)syz_random_below(&d->stream, d->used++, (uint64_t)(m->side - width + 1));
    int64_t fresh = 0;
    for (int64_t y = top; y < top + height; y++)
      for (int64_t x = left; x < left + width; x++) fresh += !mask[y * m->side + x];
    if (fresh < 1 || fresh > most) continue;
    for (int64_t y = top; y < top + height; y++) memset(mask + y * m->side + left, 1, (size_t)width);
    return fresh;
  }
  return 0;
}

int64_t syz_block_mask(const syz_block_masks *m, uint64_t seed, int64_t step, int64_t crop, uint8_t *mask)
{
  SYZ_ASSERT(m->side >= 1 && crop >= 0 && crop < m->crops && m->aspect_min > 0 && m->aspect_min <= 1 &&
             m->probability >= 0 && m->probability <= 1 && m->ratio_min >= 0 && m->ratio_min <= m->ratio_max &&
             m->ratio_max <= 1);
  const int64_t patches = m->side * m->side,
                block_most = m->side / 2 * m->side; /* a block is at most half of the crop */
  memset(mask, 0, (size_t)patches);
  syz_random order = syz_random_make(seed, SYZ_RANDOM_MASK_ORDER, (uint64_t)step, 0);
  int64_t stratum = (int64_t)syz_random_permute(&order, (uint64_t)m->crops, (uint64_t)crop);
  if (stratum >= masked_crops(m)) return 0;
  draws d = {syz_random_make(seed, SYZ_RANDOM_BLOCK_MASK, (uint64_t)step, (uint64_t)crop), 0};
  int64_t wanted = (int64_t)((double)patches * uniform(&d, edge(m, stratum), edge(m, stratum + 1))), masked = 0;
  while (masked < wanted) {
    int64_t most = wanted - masked < block_most ? wanted - masked : block_most;
    int64_t fresh = most > 0 ? add_block(m, &d, most, mask) : 0;
    if (!fresh) break;
    masked += fresh;
  }
  return masked;
}

int64_t syz_block_mask_most(const syz_block_masks *m, int64_t n)
{
  /* The permutation may make the highest strata neighbours; a mask never has more patches than its ratio allows. */
  int64_t masked = masked_crops(m), most = 0;
  for (int64_t i = masked - 1; i >= 0 && i >= masked - n; i--)
    most += (int64_t)((double)(m->side * m->side) * edge(m, i + 1));
  return most;
}

int64_t syz_run_mask(int64_t tokens, int64_t runs, int64_t width, uint64_t seed, int64_t step, int64_t place,
                     uint8_t *mask)
{
  SYZ_ASSERT(tokens >= 1 && runs >= 0 && width >= 0 && (runs == 0 || width <= tokens / runs));
  syz_random r = syz_random_make(seed, SYZ_RANDOM_RUN_MASK, (uint64_t)step, (uint64_t)place);
  memset(mask, 0, (size_t)tokens);
  for (int64_t i = 0; i < runs; i++) {
    int64_t room = tokens / runs - width, start = i * tokens / runs;
    if (room > 0) start += (int64_t)syz_random_below(&r, (uint32_t)i, (uint64_t)room);
    memset(mask + start, 1, (size_t)width);
  }
  return runs * width;
}
