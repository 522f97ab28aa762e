/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be found wrong before the run folder is taken and hours are spent. */
#include <string.h>

#include "predictions.h"
#include "write.h"

static syz_status differ(const char *key, const char *a, const char *b)
{
  syz_status st = SYZ_OK;
  char name[2][SYZ_DATASET_NAME];
  SYZ_REQUIRE(strcmp(a, b) != 0, SYZ_ERR_INPUT, "%s: %s is listed twice; remove one", key, a);
  syz_dataset_name(a, name[0]);
  syz_dataset_name(b, name[1]);
  SYZ_REQUIRE(strcmp(name[0], name[1]) != 0, SYZ_ERR_INPUT,
              "%s: %s and %s would have the same name in predictions.h5: write one of them in another way", key, a, b);
cleanup:
  return st;
}

static const char *label_of(const syz_probe_data *d, int i)
{
  return i < d->labels.n ? d->labels.item[i] : d->classes.item[i - d->labels.n];
}

/* Labels with a domain are among the labels, and have one domain. */
static syz_status check_domains(const syz_probes_options *o)
{
  syz_status st = SYZ_OK;
  const syz_texts list[2] = {o->flow.positive, o->flow.fractions};
  static const char *const key[2] = {"probe.positive", "probe.fractions"};
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < list[k].n; i++) {
      SYZ_REQUIRE(syz_texts_have(o->data.labels, list[k].item[i]), SYZ_ERR_INPUT,
                  "%s: %s is none of probe.labels (it has to be written in the same way)", key[k], list[k].item[i]);
      SYZ_REQUIRE(k == 0 || !syz_texts_have(list[0], list[k].item[i]), SYZ_ERR_INPUT,
                  "%s: %s is in probe.positive too; it can be in one of them", key[k], list[k].item[i]);
    }
cleanup:
  return st;
}

syz_status probe_check(const syz_probes_options *o)
{
  syz_status st = SYZ_OK;
  const syz_probe_data *d = &o->data;
  for (int i = 0; i < d->labels.n + d->classes.n; i++)
    for (int k = 0; k < i; k++) SYZ_TRY(differ("probe.labels and probe.classes", label_of(d, k), label_of(d, i)));
  for (int i = 0; i < d->sources.n; i++)
    for (int k = 0; k < i; k++) SYZ_TRY(differ("probe.sources", d->sources.item[k], d->sources.item[i]));
  SYZ_TRY(check_domains(o));
cleanup:
  return st;
}

bool method_takes(const probe_method *m, const sample_label *l)
{
  return l->classes ? l->classes <= m->most_classes : m->takes_numbers;
}

static bool is_about_labels(const probe_method *m) { return m->takes_numbers || m->most_classes > 0; }

static int labels_of(const job *p, const probe_method *m)
{
  int n = 0;
  for (int t = 0; t < p->sample.n_labels; t++) n += method_takes(m, &p->sample.label[t]);
  return n;
}

syz_status probe_check_labels(const job *p)
{
  syz_status st = SYZ_OK;
  int all = 0;
  for (int k = 0; k < p->n_methods; k++) {
    const probe_method *m = p->method[k];
    const int n = labels_of(p, m);
    all += n + !is_about_labels(m);
    SYZ_REQUIRE(m->most_classes || n <= SYZ_FLOW_LABELS, SYZ_ERR_INPUT,
                "probe.labels: a joint posterior (%s) has at most %d labels, and there are %d", m->name,
                SYZ_FLOW_LABELS, n);
    if (n || p->n_methods == 1 || !is_about_labels(m)) continue;
    syz_warn("%s is left out: it has no label to predict (%s)", m->name,
             m->takes_numbers ? "probe.labels" : "probe.classes, of two classes 0 and 1");
  }
  SYZ_REQUIRE(all, SYZ_ERR_INPUT, "probe: %s has no label to predict (%s)", p->method[0]->name,
              p->method[0]->takes_numbers ? "probe.labels" : "probe.classes, of two classes 0 and 1");
cleanup:
  return st;
}
