/* SPDX-License-Identifier: BSD-3-Clause */
/* The course of a probe: sample, methods for each source, figures, table and files. */
#include "syzygy/probes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "few.h"
#include "outliers.h"
#include "posterior.h"
#include "votes.h"

const probe_method probe_methods[] = {
    {"knn", true, SYZ_CLASSES_MAX, knn_predict}, {"linear", true, SYZ_CLASSES_MAX, linear_predict},
    {"mlp", true, SYZ_CLASSES_MAX, mlp_predict}, {"flow", true, 0, flow_predict},
    {"few-label", false, 2, few_predict},        {"outliers", false, 0, outliers_predict},
    {"votes", false, 0, votes_predict},          {NULL, false, 0, NULL},
};

/* "knn, linear, ..". */
static void name_all(char *text, size_t room)
{
  size_t used = 0;
  for (const probe_method *m = probe_methods; m->name && used < room; m++)
    used += (size_t)snprintf(text + used, room - used, "%s%s", used ? ", " : "", m->name);
}

static syz_status choose_methods(job *p)
{
  syz_status st = SYZ_OK;
  const syz_texts wanted = p->options->methods;
  char all[256];
  name_all(all, sizeof all);
  SYZ_REQUIRE(wanted.n >= 1 && wanted.n <= SYZ_PROBE_METHODS, SYZ_ERR_INPUT, "probe.methods: name 1 to %d methods",
              SYZ_PROBE_METHODS);
  for (int i = 0; i < wanted.n; i++) {
    const probe_method *m = probe_methods;
    while (m->name && strcmp(m->name, wanted.item[i]) != 0) m++;
    SYZ_REQUIRE(m->name, SYZ_ERR_INPUT, "probe.methods: there is no method %s; there are %s", wanted.item[i], all);
    for (int k = 0; k < p->n_methods; k++)
      SYZ_REQUIRE(p->method[k] != m, SYZ_ERR_INPUT, "probe.methods names %s twice", m->name);
    p->method[p->n_methods++] = m;
  }
cleanup:
  return st;
}

static sample_wants wants(const job *p)
{
  sample_wants w = {.folds = p->options->folds};
  for (int m = 0; m < p->n_methods; m++) {
    w.labels = w.labels || p->method[m]->takes_numbers || p->method[m]->most_classes;
    w.votes = w.votes || p->method[m]->predict == votes_predict;
  }
  return w;
}

static void log_sample(const job *p)
{
  const sample *s = &p->sample;
  syz_info("%lld objects: %lld to train, %lld to test; %lld at borders are in neither, %lld in both by identifier",
           (long long)s->rows, (long long)s->train, (long long)s->test, (long long)s->sides.dropped_border,
           (long long)s->sides.dropped_shared);
  if (s->cut || s->unusable)
    syz_info("%lld are cut, %lld lack the features of a source", (long long)s->cut, (long long)s->unusable);
  syz_info("digest of the split %016llx", (unsigned long long)s->sides.digest);
}

static syz_status open_all(job *p)
{
  syz_status st = SYZ_OK;
  const syz_compute_options *c = &p->options->compute;
  SYZ_TRY_ALL(p->run->world, choose_methods(p));
  SYZ_TRY_ALL(p->run->world, probe_check(p->options));
  SYZ_TRY(sample_load(p->run, &p->options->data, wants(p), &p->sample));
  SYZ_TRY_ALL(p->run->world, probe_check_labels(p));
  SYZ_TRY_ALL(p->run->world, syz_compute_create(c->act, c->engine, c->threads, &p->compute));
  log_sample(p);
  p->outcome = syz_alloc("results", (size_t)p->sample.n_sources * (size_t)(p->sample.n_labels * p->n_methods),
                         sizeof *p->outcome);
  p->posterior = syz_alloc("posteriors", (size_t)p->sample.n_sources, sizeof *p->posterior);
  p->votes = syz_alloc("votes", (size_t)p->sample.n_sources, sizeof *p->votes);
  p->few = syz_alloc("curves", (size_t)p->sample.n_sources * (size_t)p->sample.n_labels, sizeof *p->few);
  SYZ_TRY_ALL(p->run->world, p->outcome && p->posterior && p->few && p->votes ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int m = 0; m < p->n_methods; m++)
    if (p->method[m]->predict == outliers_predict) SYZ_TRY(outliers_open(p));
cleanup:
  return st;
}

syz_status syz_probes_open(const syz_run *run, const syz_probes_options *options, syz_probes **out)
{
  syz_status st = SYZ_OK;
  *out = NULL;
  job *p = syz_alloc("probe", 1, sizeof *p);
  SYZ_TRY_ALL(run->world, p ? SYZ_OK : SYZ_ERR_MEMORY);
  *p = (job){.run = run, .options = options};
  syz_timing_begin(run->timing, "read");
  st = open_all(p);
  syz_timing_end(run->timing);
  SYZ_TRY(st);
  *out = p;
  p = NULL;
cleanup:
  syz_probes_close(&p);
  return st;
}

void syz_probes_close(syz_probes **pp)
{
  job *p = *pp;
  if (!p) return;
  for (int k = 0; k < p->n_outcomes; k++) {
    syz_free(&p->outcome[k].said.prediction);
    syz_free(&p->outcome[k].drawn);
  }
  for (int k = 0; k < p->n_posteriors; k++) posterior_free(&p->posterior[k]);
  for (int k = 0; k < p->n_few; k++) syz_free(&p->few[k].figure);
  syz_free(&p->outcome);
  syz_free(&p->posterior);
  syz_free(&p->few);
  for (int k = 0; k < p->n_votes; k++) votes_free(&p->votes[k]);
  syz_free(&p->votes);
  outliers_close(&p->outliers);
  sample_free(&p->sample);
  syz_compute_destroy(&p->compute);
  syz_free(pp);
}

/* All labels from one source by one method. */
static syz_status run_method(job *p, int source, int method)
{
  syz_status st = SYZ_OK;
  answer said[SYZ_PROBE_LABELS] = {{0}};
  syz_timing_begin(p->run->timing, p->method[method]->name);
  st = p->method[method]->predict(p, source, said);
  syz_timing_end(p->run->timing);
  for (int t = 0; t < p->sample.n_labels; t++) {
    if (!said[t].prediction) continue;
    p->outcome[p->n_outcomes++] = (outcome){.source = source, .label = t, .method = method, .said = said[t]};
  }
  SYZ_TRY(st);
cleanup:
  return st;
}

syz_status syz_probes_write(syz_probes *p)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < p->sample.n_sources; i++)
    for (int m = 0; m < p->n_methods; m++) SYZ_TRY(run_method(p, i, m));
  syz_timing_begin(p->run->timing, "bootstrap");
  for (int k = 0; st == SYZ_OK && k < p->n_outcomes; k++) st = outcome_judge(p, &p->outcome[k]);
  syz_timing_end(p->run->timing);
  SYZ_TRY_ALL(p->run->world, st);
  SYZ_TRY_ALL(p->run->world, outcomes_compare(p));
  if (p->n_outcomes) outcomes_print(p);
  for (int k = 0; k < p->n_posteriors; k++) posterior_print(p, &p->posterior[k]);
  for (int k = 0; k < p->n_few; k++) few_print(p, &p->few[k]);
  for (int k = 0; k < p->n_votes; k++) votes_print(p, &p->votes[k]);
  if (p->outliers) SYZ_TRY(outliers_rank(p));
  SYZ_TRY(outcomes_write(p));
cleanup:
  return st;
}
