/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Strange objects. Two scores that know nothing of each other, for each source: how improbable an object's principal
 * components are, and how far its nearest neighbours are in all features. Each becomes a rank, which needs no common
 * scale; the mean of both ranks is the source's own ranking, and the mean of the sources' scores that of all.
 */
#include "outliers.h"

#include <math.h>
#include <string.h>

#include "syzygy/figures.h"

enum { TOLD = 5 /* objects on the screen */ };

/* ------------------------------------------------------------ who is scored */

/* Objects that pass the cut and have the source's features, on whatever side. */
static syz_status mark_usable(job *p, strangeness *t)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  const sample_source *f = &s->source[t->source];
  uint8_t *mine = syz_alloc("flags", (size_t)s->n + 1, sizeof *mine);
  t->is_usable = syz_alloc("flags", (size_t)s->rows, sizeof *t->is_usable);
  SYZ_TRY_ALL(s->comm, mine && t->is_usable ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < s->n; i++) mine[i] = s->passes[s->first + i] && !isnan(f->x[i * f->width]);
  SYZ_TRY(syz_index_gather(s->comm, s->rows, mine, t->is_usable));
  for (int64_t i = 0; i < s->rows; i++) {
    t->n += t->is_usable[i];
    if (s->role[i] != SYZ_ROLE_TRAIN) continue;
    t->validation += sample_is_validation(&p->sample, p->options->seed, p->options->validation_share, i);
    t->train += !sample_is_validation(&p->sample, p->options->seed, p->options->validation_share, i);
  }
  SYZ_REQUIRE(t->train >= 20 && t->validation >= 2, SYZ_ERR_DATA,
              "outliers: %lld training and %lld validation objects; wanted are at least 20 and 2", (long long)t->train,
              (long long)t->validation);
cleanup:
  syz_free(&mine);
  return st;
}

static syz_status allocate(const job *p, strangeness *t)
{
  syz_status st = SYZ_OK;
  const int64_t rows = p->sample.rows, width = p->sample.source[t->source].width;
  double **all[] = {&t->surprise, &t->distance, &t->surprise_rank, &t->distance_rank, &t->combined_rank,
                    &t->score,    &t->rating,   &t->nearest,       &t->rated_score};
  const size_t n = sizeof all / sizeof *all - (p->outliers->rating ? 0 : 3);
  for (size_t i = 0; i < n; i++) SYZ_ALLOC(*all[i], "scores", rows);
  SYZ_ALLOC(t->mean, "mean", width);
  SYZ_ALLOC(t->deviation, "deviation", width);
cleanup:
  return st;
}

static void strangeness_free(strangeness *t)
{
  double **all[] = {&t->mean,          &t->deviation, &t->surprise, &t->distance, &t->surprise_rank, &t->distance_rank,
                    &t->combined_rank, &t->score,     &t->rating,   &t->nearest,  &t->rated_score};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) syz_free(all[i]);
  syz_free(&t->is_usable);
}

syz_status outliers_open(job *p)
{
  syz_status st = SYZ_OK;
  const syz_outlier_probe *o = &p->options->outliers;
  outliers *x = p->outliers = syz_alloc("outliers", 1, sizeof *p->outliers);
  SYZ_TRY_ALL(p->run->world, x ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int i = 0; i < p->sample.n_sources; i++) {
    x->n = i + 1;
    x->of[i].source = i;
    SYZ_TRY(mark_usable(p, &x->of[i]));
  }
  if (o->ratings[0]) SYZ_TRY(ratings_read(p));
  for (int i = 0; i < x->n; i++) SYZ_TRY_ALL(p->run->world, allocate(p, &x->of[i]));
  x->score = syz_alloc("scores", (size_t)p->sample.rows, sizeof *x->score);
  x->order = syz_alloc("ranking", (size_t)p->sample.rows, sizeof *x->order);
  x->next = syz_alloc("objects to rate", (size_t)o->next, sizeof *x->next);
  SYZ_TRY_ALL(p->run->world, x->score && x->order && x->next ? SYZ_OK : SYZ_ERR_MEMORY);
cleanup:
  return st;
}

void outliers_close(outliers **op)
{
  outliers *o = *op;
  if (!o) return;
  for (int i = 0; i < o->n; i++) strangeness_free(&o->of[i]);
  syz_free(&o->said.id);
  syz_free(&o->said.value);
  syz_free(&o->rating);
  syz_free(&o->score);
  syz_free(&o->order);
  syz_free(&o->next);
  syz_free(op);
}

/* ------------------------------------------------------------ scores of a source */

static void mean_distance(void *context, int64_t k, const syz_neighbour *best, double *out)
{
  double sum = 0;
  int64_t n = 0;
  (void)context;
  for (; n < k && best[n].row >= 0; n++) sum += (double)best[n].score;
  *out = n ? sum / (double)n : 0; /* an object alone with its copies */
}

static syz_status find_distances(job *p, strangeness *t)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  const sample_source *f = &s->source[t->source];
  t->neighbours = p->options->outliers.neighbours < t->n - 1 ? p->options->outliers.neighbours : t->n - 1;
  const neighbours ask = {t->source,     t->mean, t->deviation,  t->is_usable, t->is_usable,
                          t->neighbours, 1,       mean_distance, NULL};
  SYZ_TRY(syz_exact_moments(s->comm, s->n, f->width, f->x, s->role + s->first, t->mean, t->deviation));
  SYZ_TRY(neighbours_ask(p, &ask, t->distance));
cleanup:
  return st;
}

/* Ranks of x over the usable objects, the largest first; scratch [2 rows]. */
static syz_status rank_from_largest(const job *p, const strangeness *t, const double *x, double *scratch, double *rank)
{
  syz_status st = SYZ_OK;
  const int64_t rows = p->sample.rows;
  int64_t n = 0;
  for (int64_t i = 0; i < rows; i++)
    if (t->is_usable[i]) scratch[n++] = -x[i];
  SYZ_TRY(syz_ranks(n, scratch, scratch + rows));
  n = 0;
  for (int64_t i = 0; i < rows; i++) rank[i] = t->is_usable[i] ? scratch[rows + n++] : (double)NAN;
cleanup:
  return st;
}

static syz_status find_agreement(const job *p, strangeness *t, double *scratch)
{
  const int64_t rows = p->sample.rows;
  int64_t n = 0;
  for (int64_t i = 0; i < rows; i++) {
    if (!t->is_usable[i]) continue;
    scratch[n] = t->surprise[i];
    scratch[rows + n++] = t->distance[i];
  }
  return syz_spearman(n, scratch, scratch + rows, &t->agreement);
}

/* Rank-local; the same on every rank. */
static syz_status combine(const job *p, strangeness *t)
{
  syz_status st = SYZ_OK;
  const int64_t rows = p->sample.rows;
  double *scratch = NULL, *sum = t->score;
  SYZ_ALLOC(scratch, "ranks", 2 * rows);
  for (int64_t i = 0; i < rows; i++)
    if (!t->is_usable[i]) t->surprise[i] = t->distance[i] = NAN;
  for (int64_t i = 0; i < rows; i++)
    SYZ_REQUIRE(!t->is_usable[i] || (isfinite(t->surprise[i]) && isfinite(t->distance[i])), SYZ_ERR_NUMERIC,
                "outliers: object %lld has the density exp(%g) and the distance %g by %s", (long long)p->sample.id[i],
                -t->surprise[i], t->distance[i], p->sample.source[t->source].name);
  SYZ_TRY(rank_from_largest(p, t, t->surprise, scratch, t->surprise_rank));
  SYZ_TRY(rank_from_largest(p, t, t->distance, scratch, t->distance_rank));
  for (int64_t i = 0; i < rows; i++) sum[i] = -(t->surprise_rank[i] + t->distance_rank[i]);
  SYZ_TRY(rank_from_largest(p, t, sum, scratch, t->combined_rank));
  for (int64_t i = 0; i < rows; i++) t->score[i] = 5 * (1 - (t->combined_rank[i] - 1) / (double)(t->n - 1));
  SYZ_TRY(find_agreement(p, t, scratch));
cleanup:
  syz_free(&scratch);
  return st;
}

syz_status outliers_predict(job *p, int source, answer *out)
{
  syz_status st = SYZ_OK;
  strangeness *t = &p->outliers->of[source];
  (void)out;
  SYZ_TRY(outliers_density(p, t));
  SYZ_TRY(find_distances(p, t));
  SYZ_TRY_ALL(p->run->world, combine(p, t));
  if (p->outliers->rating) SYZ_TRY(ratings_weigh(p, t));
  syz_info("%s: %lld objects scored: a flow of %lld components (%.0f %% of the variance), %lld neighbours; the two "
           "scores' ranks correlate by %.3f",
           p->sample.source[source].name, (long long)t->n, (long long)t->components, 100 * t->explained,
           (long long)t->neighbours, t->agreement);
cleanup:
  return st;
}

/* ------------------------------------------------------------ one ranking */

static syz_status order_all(job *p)
{
  syz_status st = SYZ_OK;
  outliers *o = p->outliers;
  const int64_t rows = p->sample.rows;
  double *worst = NULL;
  SYZ_ALLOC(worst, "scores", rows);
  for (int64_t i = 0; i < rows; i++) {
    double sum = 0;
    int n = 0;
    for (int k = 0; k < o->n; k++) {
      if (!o->of[k].is_usable[i]) continue;
      sum += o->rating ? o->of[k].rated_score[i] : o->of[k].score[i];
      n++;
    }
    o->score[i] = n ? sum / n : NAN;
    worst[i] = -o->score[i];
    o->listed += n > 0;
  }
  SYZ_TRY(syz_order(rows, worst, o->order));
cleanup:
  syz_free(&worst);
  return st;
}

syz_status outliers_rank(job *p)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  outliers *o = p->outliers;
  SYZ_TRY_ALL(p->run->world, order_all(p));
  SYZ_TRY(ratings_choose_next(p));
  syz_info("strangest of %lld objects%s:", (long long)o->listed, o->rating ? ", with the ratings" : "");
  for (int64_t k = 0; k < o->listed && k < TOLD; k++)
    syz_info("  %lld at %.5f %+.5f, score %.3f", (long long)s->id[o->order[k]], s->ra[o->order[k]], s->dec[o->order[k]],
             o->score[o->order[k]]);
cleanup:
  return st;
}
