/* SPDX-License-Identifier: BSD-3-Clause */
/* predictions.h5: identifiers, positions, true values and predictions of the test objects. */
#include "predictions.h"

#include <stdio.h>

#include "syzygy/data.h"

/* Rank 0 writes: it has them all. */
syz_status predictions_put(const job *p, syz_h5 *f, const char *name, syz_h5_type type, int64_t numbers,
                           const void *data, const char *unit, const char *description)
{
  const int64_t n = syz_comm_rank(p->run->world) == 0 ? p->sample.test : 0;
  return syz_h5_write(f, name, type, p->sample.test, numbers ? 1 : 0, &numbers, 0, n, data, unit, description);
}

static syz_status put_rows(const job *p, syz_h5 *f, double *scratch)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  char name[512], label[SYZ_DATASET_NAME], source[SYZ_DATASET_NAME];
  for (int t = 0; t < s->n_labels; t++) {
    for (int64_t i = 0; i < s->test; i++) scratch[i] = s->label[t].value[s->test_row[i]];
    syz_dataset_name(s->label[t].name, label);
    snprintf(name, sizeof name, "label/%s", label);
    SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, 0, scratch, s->label[t].unit, "true value; NaN where unknown"));
  }
  for (int k = 0; k < p->n_outcomes; k++) {
    const outcome *o = &p->outcome[k];
    syz_dataset_name(s->label[o->label].name, label);
    syz_dataset_name(s->source[o->source].name, source);
    snprintf(name, sizeof name, "prediction/%s/%s/%s", source, p->method[o->method]->name, label);
    SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, 0, o->said.prediction, s->label[o->label].unit,
                            s->label[o->label].classes ? "predicted class" : "predicted value"));
  }
cleanup:
  return st;
}

syz_status predictions_fill(const job *p, syz_h5 *f, double *scratch)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  int64_t *id = syz_alloc("identifiers", (size_t)s->test, sizeof *id);
  SYZ_TRY_ALL(s->comm, id ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < s->test; i++) id[i] = s->id[s->test_row[i]];
  SYZ_TRY(predictions_put(p, f, "object_id", SYZ_H5_I64, 0, id, "", "identifier of the test object"));
  for (int64_t i = 0; i < s->test; i++) scratch[i] = s->ra[s->test_row[i]];
  SYZ_TRY(predictions_put(p, f, "ra", SYZ_H5_F64, 0, scratch, "deg", "right ascension, ICRS; NaN when unknown"));
  for (int64_t i = 0; i < s->test; i++) scratch[i] = s->dec[s->test_row[i]];
  SYZ_TRY(predictions_put(p, f, "dec", SYZ_H5_F64, 0, scratch, "deg", "declination, ICRS; NaN when unknown"));
  SYZ_TRY(put_rows(p, f, scratch));
cleanup:
  syz_free(&id);
  return st;
}
