/* SPDX-License-Identifier: BSD-3-Clause */
/* Walmsley et al. 2022 (arXiv:2102.08414), figure 4. */
#include "galaxy_zoo.h"

#include <stdio.h>

const zoo_question zoo[ZOO_QUESTIONS] = {
    {"smooth-or-featured", 3, {"smooth", "featured-or-disk", "artifact"}, -1, -1},
    {"disk-edge-on", 2, {"yes", "no"}, 0, 1},
    {"has-spiral-arms", 2, {"yes", "no"}, 1, 1},
    {"bar", 3, {"strong", "weak", "no"}, 1, 1},
    {"bulge-size", 5, {"dominant", "large", "moderate", "small", "none"}, 1, 1},
    {"how-rounded", 3, {"round", "in-between", "cigar-shaped"}, 0, 0},
    {"edge-on-bulge", 3, {"boxy", "none", "rounded"}, 1, 0},
    {"spiral-winding", 3, {"tight", "medium", "loose"}, 2, 0},
    {"spiral-arm-count", 6, {"1", "2", "3", "4", "more-than-4", "cant-tell"}, 2, 0},
    {"merging", 4, {"none", "minor-disturbance", "major-disturbance", "merger"}, -1, -1},
};
const int zoo_begin[ZOO_QUESTIONS + 1] = {0, 3, 5, 7, 10, 15, 18, 21, 24, 30, 34};

syz_texts zoo_columns(void)
{
  static char text[ZOO_ANSWERS][64];
  static const char *item[ZOO_ANSWERS];
  for (int q = 0; q < ZOO_QUESTIONS; q++)
    for (int a = 0; a < zoo[q].answers; a++) {
      const int k = zoo_begin[q] + a;
      snprintf(text[k], sizeof text[k], "%s_%s", zoo[q].name, zoo[q].answer[a]);
      item[k] = text[k];
    }
  return (syz_texts){ZOO_ANSWERS, item};
}

void zoo_relevance(const double *share, double *relevance)
{
  for (int q = 0; q < ZOO_QUESTIONS; q++)
    relevance[q] = zoo[q].after < 0 ? 1 : relevance[zoo[q].after] * share[zoo_begin[zoo[q].after] + zoo[q].by];
}
