/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The task mutual-information: of Gaussians with the held-out correlations of the shared dimensions, and InfoNCE's
 * bound ln N - loss over draws of N pairs, which cannot pass ln N: where it comes near, it tells N and nothing else.
 */
#include <math.h>
#include <string.h>

#include "spaces.h"
#include "syzygy/json.h"

enum { SIZES = 32 };
#define SATURATED 0.9 /* of ln N */

typedef struct information {
  syz_cca *all;
  syz_cca_held *held;
  double gaussian, fitted; /* nats: of the held-out, of the fitted correlations of the shared dimensions */
  syz_pair_means draw[SIZES];
  int draws;
} information;

static void release(information *i)
{
  syz_cca_destroy(&i->all);
  syz_cca_held_destroy(&i->held);
}

static syz_status analyse(const syz_spaces *s, table *t, information *i)
{
  syz_status st = SYZ_OK;
  const syz_cca_options options = spaces_cca_options(s, 0);
  i->gaussian = i->fitted = NAN;
  SYZ_TRY(syz_cca_fit(s->comm, &t->rows[0], &t->rows[1], &options, &i->all));
  if (spaces_can_hold_out(t, i->all)) {
    SYZ_TRY(syz_cca_hold_out(s->comm, &t->rows[0], &t->rows[1], t->half, &options, &i->held));
    i->gaussian = syz_gaussian_information(i->held->correlation, i->held->shared);
    i->fitted = syz_gaussian_information(i->all->correlation, i->held->shared);
  }
  if (t->column[0].width != t->column[1].width) {
    syz_info("%s: no InfoNCE: %s is %lld wide and %s %lld", t->title, t->column[0].name, (long long)t->column[0].width,
             t->column[1].name, (long long)t->column[1].width);
    goto cleanup;
  }
  for (int64_t n = 2; n <= s->options->draw_objects && 2 * n <= t->total && i->draws < SIZES; n *= 2)
    SYZ_TRY(syz_pairs_draw(s->comm, &t->rows[0], &t->rows[1], n, s->options->draws, s->options->logit_scale,
                           s->options->seed, &i->draw[i->draws++]));
cleanup:
  return st;
}

static syz_status timed(const syz_spaces *s, table *t, information *i)
{
  syz_timing_begin(s->run->timing, "information");
  const syz_status st = table_agree_read(t, analyse(s, t, i));
  syz_timing_end(s->run->timing);
  return st;
}

static bool is_saturated(const syz_pair_means *m) { return m->bound[0] > SATURATED * log((double)m->n); }

static void print(const table *t, const information *i)
{
  if (i->held)
    syz_info("%s: Gaussian information of %lld shared dimensions %.4f nats, %.4f bits (by the fitted correlations %.4f "
             "nats)",
             t->title, (long long)i->held->shared, i->gaussian, i->gaussian / log(2), i->fitted);
  if (i->draws) syz_info("  %9s %12s %12s %12s", "N", "ln N", "InfoNCE", "error");
  for (int k = 0; k < i->draws; k++)
    syz_info("  %9lld %12.4f %12.4f %12.4f%s", (long long)i->draw[k].n, log((double)i->draw[k].n), i->draw[k].bound[0],
             i->draw[k].bound[1], is_saturated(&i->draw[k]) ? "  saturated" : "");
  if (i->draws && is_saturated(&i->draw[i->draws - 1]))
    syz_warn("%s: InfoNCE's bound is near ln N also for the largest N: there is more information than it can tell",
             t->title);
}

static void add(cJSON *list, const syz_spaces *s, const table *t, const information *i)
{
  cJSON *o = cJSON_CreateObject(), *g, *curve;
  cJSON_AddStringToObject(o, "name", t->title);
  json_add_table(o, t);
  g = cJSON_AddObjectToObject(o, "gaussian");
  cJSON_AddNumberToObject(g, "shared", i->held ? (double)i->held->shared : 0);
  syz_json_add_number(g, "nats", i->gaussian);
  syz_json_add_number(g, "bits", i->gaussian / log(2));
  syz_json_add_number(g, "fitted_nats", i->fitted);
  g = cJSON_AddObjectToObject(o, "infonce");
  cJSON_AddNumberToObject(g, "logit_scale", s->options->logit_scale);
  cJSON_AddNumberToObject(g, "draws", (double)s->options->draws);
  curve = cJSON_AddArrayToObject(g, "curve");
  for (int k = 0; k < i->draws; k++) {
    cJSON *p = cJSON_CreateObject();
    cJSON_AddNumberToObject(p, "n", (double)i->draw[k].n);
    syz_json_add_number(p, "ln_n", log((double)i->draw[k].n));
    syz_json_add_number(p, "bound_nats", i->draw[k].bound[0]);
    syz_json_add_number(p, "error", i->draw[k].bound[1]);
    cJSON_AddBoolToObject(p, "is_saturated", is_saturated(&i->draw[k]));
    cJSON_AddItemToArray(curve, p);
  }
  cJSON_AddItemToArray(list, o);
}

static syz_status write_figures(const syz_spaces *s, const information i[2])
{
  cJSON *root = json_begin(s, s->now), *list = cJSON_AddArrayToObject(root, "spaces");
  add(list, s, s->now, &i[0]);
  if (s->before) add(list, s, s->before, &i[1]);
  return json_write(s, "information.json", root);
}

syz_status syz_spaces_write_information(syz_spaces *s)
{
  syz_status st = SYZ_OK;
  information i[2];
  memset(i, 0, sizeof i);
  SYZ_TRY(timed(s, s->now, &i[0]));
  if (s->before) SYZ_TRY(timed(s, s->before, &i[1]));
  print(s->now, &i[0]);
  if (s->before) print(s->before, &i[1]);
  SYZ_TRY_ALL(s->comm, syz_comm_rank(s->comm) == 0 ? write_figures(s, i) : SYZ_OK);
cleanup:
  for (int k = 0; k < 2; k++) release(&i[k]);
  return st;
}
