/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room report: what a probe of embeddings left, probe.json and predictions.h5; probe.c, probe_pairs.c,
 * probe_posterior.c, probe_few.c, probe_votes.c, probe_outliers.c. */
#pragma once

#include <cjson/cJSON.h>

#include "report.h"

enum { PROBE_NAME = 192, PROBE_CLASSES = 24, PROBE_CURVES = 8 };

typedef struct probe_view {
  const cJSON *json;
  const char *folder;
  syz_h5 *file; /**< predictions.h5; NULL: there is none that can be read */
  int64_t n;    /**< its test objects */
} probe_view;

/** The second text of the pair whose first is `key`, or the key itself; pairs end with NULL. */
const char *probe_name(const char *const pair[][2], const char *key);
/** A number, NaN where there is none; a text, "?" where there is none. */
double probe_number(const cJSON *o, const char *name);
const char *probe_text(const cJSON *o, const char *name);
/** Up to `room` numbers of a list, NaN for what is no number; returns how many. */
int probe_list(const cJSON *o, const char *name, int room, double *out);
/** Names for readers; what is not known stays as it is. */
const char *probe_method(const char *key);
const char *probe_source(const char *key);
const char *probe_figure(const char *key);
/** "log_mstar (log10(solMass))": a label with its unit, cut to fit. */
const char *probe_label(const probe_view *v, const char *label, char text[PROBE_NAME]);
/** The row of a label under "labels", NULL: none. */
const cJSON *probe_label_row(const probe_view *v, const char *label);
/** A cell "0.912 ± 0.004" with `digits` digits after the point; "n/a" where there is no value. */
void probe_cell(syz_page *p, double value, double error, int digits);
/** Colour and style of curve k of several. */
syz_series probe_curve(const char *name, int k, int64_t n, const double *x, const double *y);

/** Predicted against true, residuals, confusion. SYZ_ERR_MEMORY. */
syz_status probe_put_pairs(syz_page *p, const probe_view *v);
void probe_put_posteriors(syz_page *p, const probe_view *v);
void probe_put_few(syz_page *p, const probe_view *v);
/** Votes of Galaxy Zoo; strange objects. Nothing where the probe had none. */
void probe_put_votes(syz_page *p, const probe_view *v);
void probe_put_outliers(syz_page *p, const probe_view *v);
