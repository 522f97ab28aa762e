/* SPDX-License-Identifier: BSD-3-Clause */
/** For the Python tests: the masks that the program draws. masks_driver TOKENS RUNS WIDTH SEED FIRST_STEP STEPS PLACES
 * FILE: uint8 [STEPS, PLACES, TOKENS]. */
#include <stdio.h>
#include <stdlib.h>

#include "syzygy/data.h"

int main(int argc, char **argv)
{
  if (argc != 9) return fprintf(stderr, "usage: masks_driver TOKENS RUNS WIDTH SEED FIRST_STEP STEPS PLACES FILE\n"), 2;
  const int64_t tokens = strtoll(argv[1], NULL, 10), runs = strtoll(argv[2], NULL, 10),
                width = strtoll(argv[3], NULL, 10);
  const uint64_t seed = strtoull(argv[4], NULL, 10);
  const int64_t first = strtoll(argv[5], NULL, 10), steps = strtoll(argv[6], NULL, 10),
                places = strtoll(argv[7], NULL, 10);
  uint8_t *mask = malloc((size_t)tokens);
  FILE *f = fopen(argv[8], "wb");
  if (!mask || !f) return fprintf(stderr, "%s: cannot write\n", argv[8]), 4;
  for (int64_t step = first; step < first + steps; step++)
    for (int64_t place = 0; place < places; place++) {
      syz_run_mask(tokens, runs, width, seed, step, place, mask);
      if (fwrite(mask, 1, (size_t)tokens, f) != (size_t)tokens) return 4;
    }
  free(mask);
  return fclose(f) == 0 ? 0 : 4;
}
