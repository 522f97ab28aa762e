/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The task health. A space that collapses shows it first here: its effective rank is exp of the entropy of the shares
 * of variance (Roy & Vetterli 2007, with variances), partners are near each other (alignment) while all is spread over
 * the sphere (uniformity; Wang & Isola 2020), the two modalities lie apart (gap: distance of the means of the vectors
 * of unit length; Liang et al. 2022), some objects have the same vector.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "spaces.h"
#include "syzygy/json.h"

enum { BLOCK = 256 };

typedef struct health {
  double effective_rank[2], first_share[2];
  int64_t directions[2]; /* with variance */
  int64_t duplicates[2]; /* objects whose vector an earlier one has */
  bool is_comparable;    /* both columns are equally wide */
  double alignment;      /* mean of |x - y|^2 of partners, unit length */
  double gap;
  syz_pair_means means;
} health;

static syz_status measure_spread(const syz_spaces *s, table *t, int side, health *h)
{
  syz_status st = SYZ_OK;
  const syz_pca_options options = {t->column[side].width, s->options->scalapack_from};
  syz_pca *p = NULL;
  double entropy = 0, sum = 0;
  SYZ_TRY(syz_pca_fit(s->comm, &t->rows[side], &options, &p));
  for (int64_t k = 0; k < p->components; k++) sum += p->variance[k];
  for (int64_t k = 0; k < p->components; k++) entropy -= p->variance[k] / sum * log(p->variance[k] / sum);
  h->directions[side] = p->components;
  h->effective_rank[side] = p->components ? exp(entropy) : 0;
  h->first_share[side] = p->components ? p->variance[0] / sum : NAN;
cleanup:
  syz_pca_destroy(&p);
  return st;
}

static int compare(const void *a, const void *b)
{
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Vectors by their digest: equal ones of 64 bits are the same but for one chance in some 10^7 for a million objects. */
static syz_status count_duplicates(table *t, int side, health *h)
{
  syz_status st = SYZ_OK;
  const syz_rows *rows = &t->rows[side];
  const size_t bytes = (size_t)t->kept * sizeof(uint64_t);
  float *x = syz_alloc("rows", (size_t)(BLOCK * rows->width), sizeof *x);
  uint64_t *mine = syz_alloc("digests", (size_t)t->kept + 1, sizeof *mine);
  uint64_t *all = syz_alloc("digests", (size_t)t->total, sizeof *all);
  size_t *share = syz_alloc("shares", (size_t)syz_comm_size(t->comm), sizeof *share);
  SYZ_TRY_ALL(t->comm, x && mine && all && share ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t at = 0; at < t->kept; at += BLOCK) {
    const int64_t n = t->kept - at < BLOCK ? t->kept - at : BLOCK;
    rows->read(rows->context, at, n, x);
    for (int64_t i = 0; i < n; i++)
      mine[at + i] = syz_checksum(x + i * rows->width, (size_t)rows->width * sizeof *x, 0);
  }
  syz_allgather(t->comm, &bytes, share, sizeof bytes);
  syz_allgatherv(t->comm, mine, all, share);
  qsort(all, (size_t)t->total, sizeof *all, compare);
  for (int64_t i = 1; i < t->total; i++) h->duplicates[side] += all[i] == all[i - 1];
cleanup:
  syz_free(&x);
  syz_free(&mine);
  syz_free(&all);
  syz_free(&share);
  return st;
}

static double length(const float *x, int64_t width)
{
  double sum = 0;
  for (int64_t e = 0; e < width; e++) sum += (double)x[e] * (double)x[e];
  return sqrt(sum);
}

/* Alignment and the sums of both sides' vectors of unit length: sum [2 width + 1]. */
static void add_pairs(table *t, float *const x[2], double *sum)
{
  const int64_t width = t->column[0].width;
  for (int64_t at = 0; at < t->kept; at += BLOCK) {
    const int64_t n = t->kept - at < BLOCK ? t->kept - at : BLOCK;
    for (int s = 0; s < 2; s++) t->rows[s].read(t->rows[s].context, at, n, x[s]);
    for (int64_t i = 0; i < n; i++) {
      const float *a = x[0] + i * width, *b = x[1] + i * width;
      const double la = length(a, width), lb = length(b, width);
      for (int64_t e = 0; e < width; e++) {
        const double u = (double)a[e] / la, v = (double)b[e] / lb;
        sum[e] += u;
        sum[width + e] += v;
        sum[2 * width] += (u - v) * (u - v);
      }
    }
  }
}

static syz_status compare_sides(table *t, health *h)
{
  syz_status st = SYZ_OK;
  const int64_t width = t->column[0].width;
  float *x[2] = {syz_alloc("rows", (size_t)(BLOCK * width), sizeof(float)),
                 syz_alloc("rows", (size_t)(BLOCK * width), sizeof(float))};
  double *sum = syz_alloc("sums", (size_t)(2 * width + 1), sizeof *sum), square = 0;
  SYZ_TRY_ALL(t->comm, x[0] && x[1] && sum ? SYZ_OK : SYZ_ERR_MEMORY);
  add_pairs(t, x, sum);
  syz_allreduce_f64(t->comm, sum, (size_t)(2 * width + 1), SYZ_SUM);
  for (int64_t e = 0; e < width; e++) square += (sum[e] - sum[width + e]) * (sum[e] - sum[width + e]);
  h->gap = sqrt(square) / (double)t->total;
  h->alignment = sum[2 * width] / (double)t->total;
cleanup:
  syz_free(&x[0]);
  syz_free(&x[1]);
  syz_free(&sum);
  return st;
}

static syz_status examine(const syz_spaces *s, table *t, health *h)
{
  syz_status st = SYZ_OK;
  const int64_t half = t->total / 2 < 2 ? 2 : t->total / 2; /* draws of everything would not differ */
  const int64_t n = s->options->draw_objects < half ? s->options->draw_objects : half;
  h->alignment = h->gap = NAN;
  h->is_comparable = t->column[0].width == t->column[1].width;
  for (int side = 0; side < 2; side++) {
    SYZ_TRY(measure_spread(s, t, side, h));
    SYZ_TRY(count_duplicates(t, side, h));
  }
  if (h->is_comparable) SYZ_TRY(compare_sides(t, h));
  SYZ_TRY(syz_pairs_draw(s->comm, &t->rows[0], &t->rows[1], n, s->options->draws, 1, s->options->seed, &h->means));
cleanup:
  return st;
}

static syz_status timed(const syz_spaces *s, table *t, health *h)
{
  syz_timing_begin(s->run->timing, "health");
  const syz_status st = table_agree_read(t, examine(s, t, h));
  syz_timing_end(s->run->timing);
  return st;
}

static void print(const table *t, const health *h)
{
  syz_info("%-20s %8s %10s %14s %11s %21s %10s", t->title, "width", "directions", "effective rank", "first share",
           "uniformity", "duplicates");
  for (int k = 0; k < 2; k++)
    syz_info("  %-18.18s %8lld %10lld %14.2f %11.4f %10.4f +- %7.4f %10lld", t->column[k].name,
             (long long)t->column[k].width, (long long)h->directions[k], h->effective_rank[k], h->first_share[k],
             h->means.uniformity[k][0], h->means.uniformity[k][1], (long long)h->duplicates[k]);
  if (h->is_comparable)
    syz_info("  alignment of partners %.4f, modality gap %.4f (both of vectors of unit length)", h->alignment, h->gap);
}

static void add(cJSON *list, const table *t, const health *h)
{
  cJSON *o = cJSON_CreateObject(), *sides;
  cJSON_AddStringToObject(o, "name", t->title);
  json_add_table(o, t);
  sides = cJSON_AddArrayToObject(o, "columns");
  for (int k = 0; k < 2; k++) {
    cJSON *c = cJSON_CreateObject();
    cJSON_AddStringToObject(c, "source", t->column[k].name);
    cJSON_AddNumberToObject(c, "width", (double)t->column[k].width);
    cJSON_AddNumberToObject(c, "directions", (double)h->directions[k]);
    syz_json_add_number(c, "effective_rank", h->effective_rank[k]);
    syz_json_add_number(c, "first_share", h->first_share[k]);
    syz_json_add_number(c, "uniformity", h->means.uniformity[k][0]);
    syz_json_add_number(c, "uniformity_error", h->means.uniformity[k][1]);
    cJSON_AddNumberToObject(c, "duplicates", (double)h->duplicates[k]);
    cJSON_AddItemToArray(sides, c);
  }
  cJSON_AddNumberToObject(o, "draw_objects", (double)h->means.n);
  cJSON_AddNumberToObject(o, "draws", (double)h->means.draws);
  syz_json_add_number(o, "alignment", h->alignment);
  syz_json_add_number(o, "modality_gap", h->gap);
  cJSON_AddItemToArray(list, o);
}

static syz_status write_figures(const syz_spaces *s, const health h[2])
{
  cJSON *root = json_begin(s, s->now), *list = cJSON_AddArrayToObject(root, "spaces");
  add(list, s->now, &h[0]);
  if (s->before) add(list, s->before, &h[1]);
  return json_write(s, "health.json", root);
}

syz_status syz_spaces_write_health(syz_spaces *s)
{
  syz_status st = SYZ_OK;
  health h[2];
  memset(h, 0, sizeof h);
  SYZ_TRY(timed(s, s->now, &h[0]));
  if (s->before) SYZ_TRY(timed(s, s->before, &h[1]));
  print(s->now, &h[0]);
  if (s->before) print(s->before, &h[1]);
  SYZ_TRY_ALL(s->comm, syz_comm_rank(s->comm) == 0 ? write_figures(s, h) : SYZ_OK);
cleanup:
  return st;
}
