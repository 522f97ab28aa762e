/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Nearest positions on the sky by a k-d tree of unit vectors: chord length increases with angle, so the nearest vector
 * is the nearest position, without special cases at the poles or RA = 0. The tree is implicit: order[] holds the median
 * of each range in its middle, split along the axis of the level. Of equal distances the lowest number wins, so that
 * the result does not depend on the tree.
 */
#include "syzygy/sky.h"

#include <math.h>
#include <string.h>

static const double DEGREE = 0.017453292519943295769;

struct syz_skytree {
  int64_t n;
  int64_t *order;
  double (*point)[3]; /**< in the order of order[] */
};

static void unit_vector(double ra, double dec, double v[3])
{
  double c = cos(dec * DEGREE);
  v[0] = c * cos(ra * DEGREE);
  v[1] = c * sin(ra * DEGREE);
  v[2] = sin(dec * DEGREE);
}

double syz_separation(double ra1, double dec1, double ra2, double dec2)
{
  double d = (ra2 - ra1) * DEGREE, s1 = sin(dec1 * DEGREE), c1 = cos(dec1 * DEGREE), s2 = sin(dec2 * DEGREE),
         c2 = cos(dec2 * DEGREE);
  double a = c2 * sin(d), b = c1 * s2 - s1 * c2 * cos(d);
  return atan2(sqrt(a * a + b * b), s1 * s2 + c1 * c2 * cos(d)) / DEGREE;
}

static void swap_points(syz_skytree *t, int64_t a, int64_t b)
{
  double v[3];
  memcpy(v, t->point[a], sizeof v);
  memcpy(t->point[a], t->point[b], sizeof v);
  memcpy(t->point[b], v, sizeof v);
  int64_t o = t->order[a];
  t->order[a] = t->order[b];
  t->order[b] = o;
}

/* Quickselect of the middle; the pivot is the middle element, so sorted input is no worst case. */
static void select_middle(syz_skytree *t, int64_t low, int64_t high, int64_t middle, int axis)
{
  while (low < high) {
    double pivot = t->point[low + (high - low) / 2][axis];
    int64_t i = low, j = high;
    while (i <= j) {
      while (t->point[i][axis] < pivot) i++;
      while (t->point[j][axis] > pivot) j--;
      if (i <= j) swap_points(t, i++, j--);
    }
    if (middle <= j)
      high = j;
    else if (middle >= i)
      low = i;
    else
      return;
  }
}

static void build(syz_skytree *t, int64_t low, int64_t high, int axis)
{
  while (high - low > 1) {
    int64_t middle = low + (high - low) / 2;
    select_middle(t, low, high - 1, middle, axis);
    axis = (axis + 1) % 3;
    build(t, low, middle, axis);
    low = middle + 1;
  }
}

syz_status syz_skytree_create(int64_t n, const double *ra, const double *dec, syz_skytree **out)
{
  syz_status st = SYZ_OK;
  syz_skytree *t = NULL;
  *out = NULL;
  SYZ_ALLOC(t, "sky tree", 1);
  SYZ_ALLOC(t->order, "sky tree", n + 1);
  SYZ_ALLOC(t->point, "sky tree", n + 1);
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(ra[i]) || !isfinite(dec[i])) continue;
    unit_vector(ra[i], dec[i], t->point[t->n]);
    t->order[t->n++] = i;
  }
  build(t, 0, t->n, 0);
  *out = t;
  t = NULL;
cleanup:
  syz_skytree_destroy(&t);
  return st;
}

void syz_skytree_destroy(syz_skytree **tree)
{
  syz_skytree *t = *tree;
  if (!t) return;
  syz_free(&t->order);
  syz_free(&t->point);
  syz_free(tree);
}

typedef struct search {
  double v[3], best2; /**< squared chord */
  int64_t best;
} search;

static void descend(const syz_skytree *t, search *s, int64_t low, int64_t high, int axis)
{
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    const double *p = t->point[middle];
    double x = p[0] - s->v[0], y = p[1] - s->v[1], z = p[2] - s->v[2], d2 = x * x + y * y + z * z;
    if (d2 < s->best2 || (d2 == s->best2 && (s->best < 0 || t->order[middle] < s->best))) {
      s->best2 = d2;
      s->best = t->order[middle];
    }
    double side = s->v[axis] - p[axis];
    int next = (axis + 1) % 3;
    if (side < 0) {
      descend(t, s, low, middle, next);
      if (side * side > s->best2) return;
      low = middle + 1;
    } else {
      descend(t, s, middle + 1, high, next);
      if (side * side > s->best2) return;
      high = middle;
    }
    axis = next;
  }
}

static double squared_chord(double radius_deg)
{
  double chord = radius_deg >= 180 ? 2 : 2 * sin(radius_deg * DEGREE / 2);
  return chord * chord * (1 + 1e-12) + 1e-30;
}

int64_t syz_skytree_search(const syz_skytree *t, double ra, double dec, double radius_deg, double *chord2)
{
  search s;
  if (!isfinite(ra) || !isfinite(dec)) return -1;
  unit_vector(ra, dec, s.v);
  s.best2 = squared_chord(radius_deg);
  s.best = -1;
  descend(t, &s, 0, t->n, 0);
  *chord2 = s.best2;
  return s.best;
}

int64_t syz_skytree_nearest(const syz_skytree *t, double ra, double dec, double radius_deg, double *separation_deg)
{
  double chord2 = 0;
  int64_t best = syz_skytree_search(t, ra, dec, radius_deg, &chord2);
  if (best >= 0 && separation_deg) *separation_deg = 2 * asin(fmin(1, sqrt(chord2) / 2)) / DEGREE;
  return best;
}

typedef struct sweep {
  double v[3], chord2;
  bool (*visit)(void *context, int64_t number);
  void *context;
} sweep;

/* Returns whether the search continues. */
static bool descend_within(const syz_skytree *t, const sweep *s, int64_t low, int64_t high, int axis)
{
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    const double *p = t->point[middle];
    double x = p[0] - s->v[0], y = p[1] - s->v[1], z = p[2] - s->v[2], side = s->v[axis] - p[axis];
    if (x * x + y * y + z * z <= s->chord2 && !s->visit(s->context, t->order[middle])) return false;
    axis = (axis + 1) % 3;
    if (side * side <= s->chord2 && !descend_within(t, s, low, middle, axis)) return false;
    if (side * side <= s->chord2 || side >= 0)
      low = middle + 1;
    else
      high = middle;
  }
  return true;
}

void syz_skytree_within(const syz_skytree *t, double ra, double dec, double radius_deg,
                        bool (*visit)(void *context, int64_t number), void *context)
{
  sweep s = {.chord2 = squared_chord(radius_deg), .visit = visit, .context = context};
  if (!isfinite(ra) || !isfinite(dec)) return;
  unit_vector(ra, dec, s.v);
  (void)descend_within(t, &s, 0, t->n, 0);
}

int64_t syz_targetid(int64_t release, int64_t brickid, int64_t objid)
{
  return (int64_t)((uint64_t)objid | (uint64_t)brickid << 22 |
                   (uint64_t)release << 42); /* unsigned: columns may hold anything */
}
bool syz_targetid_is_sky(int64_t targetid) { return targetid < 0 || (targetid >> 59 & 1); }
int64_t syz_sdss_id(int64_t plate, int64_t mjd, int64_t fiber) { return plate * 1000000000 + mjd * 10000 + fiber; }
