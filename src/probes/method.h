/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: the methods, and what they find. */
#pragma once

#include "sample.h"
#include "syzygy/figures.h"

typedef struct syz_probes job;

enum { PROBE_NOTE = 96 };

/** What a method says of one label from one source. */
typedef struct answer {
  double *prediction;    /**< [test], NaN where it has none; NULL: the method has nothing for such a label */
  char note[PROBE_NOTE]; /**< what was chosen: "k 16", "penalty 1e-3" */
} answer;

/** A figure of merit with its bootstrap. */
typedef struct merit {
  const char *name; /**< "R2", "accuracy", .. */
  syz_estimate of;
} merit;

enum { FIGURES_MAX = 12 };
/** A row of the table: how well one label is known from one source by one method. */
typedef struct outcome {
  int source, label, method;
  int64_t n; /**< test objects that were judged */
  answer said;
  int figures;
  merit figure[FIGURES_MAX]; /**< the first one ranks sources and methods */
  double *drawn;             /**< [draws] of the first figure, for paired comparisons */
  bool is_best;              /**< of its label */
  bool is_tied;              /**< with the best, by the paired bootstrap */
} outcome;

/** Joint posteriors from one source: posterior.h. Curves over few labels: few.h. */
typedef struct posterior posterior;
typedef struct few_curves few_curves;
/** Strange objects: outliers.h. */
typedef struct outliers outliers;
/** Votes of Galaxy Zoo: votes.h. */
typedef struct votes_heads votes_heads;

typedef struct probe_method {
  const char *name;
  bool takes_numbers;
  int most_classes; /**< of a label of classes; 0: takes none */
  /** Predict all labels that it takes from a source, answers [labels]. Collective; agreed. */
  syz_status (*predict)(job *p, int source, answer *out);
} probe_method;

/** All methods, ended by a name NULL. */
extern const probe_method probe_methods[];
bool method_takes(const probe_method *m, const sample_label *l);
/** What the input names, before anything is read. Rank-local. */
syz_status probe_check(const syz_probes_options *o);
/** What there is to do, after labels are read: each method has labels, or that is said. Rank-local. */
syz_status probe_check_labels(const job *p);
syz_status knn_predict(job *p, int source, answer *out);
syz_status linear_predict(job *p, int source, answer *out);
syz_status mlp_predict(job *p, int source, answer *out);
syz_status flow_predict(job *p, int source, answer *out);
syz_status few_predict(job *p, int source, answer *out);
syz_status votes_predict(job *p, int source, answer *out);
syz_status outliers_predict(job *p, int source, answer *out);

struct syz_probes {
  const syz_run *run;
  const syz_probes_options *options;
  sample sample;
  syz_compute *compute;
  const probe_method *method[SYZ_PROBE_METHODS];
  int n_methods;
  int n_outcomes;
  outcome *outcome;
  int n_posteriors;
  posterior *posterior; /**< [sources] */
  int n_few;
  few_curves *few;    /**< [sources, labels] */
  outliers *outliers; /**< of all sources; NULL: not wanted */
  int n_votes;
  votes_heads *votes; /**< [sources] */
};

/** Whether a label is a redshift: it gets photo-z figures, and the published network for redshifts. */
bool is_redshift(const char *name);
/** What a head says of the test objects, out [outputs, test] on every rank. Collective; agreed. */
syz_status probe_apply_head(const job *p, int source, const syz_linear_head *h, double *out);
/** Train all members of a flow to their end. Collective; agreed. */
syz_status probe_flow_train(const job *p, syz_flow *f, const syz_flow_training_options *options,
                            const syz_flow_rows *rows, const syz_flow_rows *valid);
/** Memory for an answer. Rank-local. */
syz_status answer_make(const job *p, answer *a);
/** Figures of a row and their errors; rank-local, the same on every rank. */
syz_status outcome_judge(const job *p, outcome *o);
/** Mark the best of each label, and those that the paired bootstrap does not tell from it. Rank-local. */
syz_status outcomes_compare(job *p);
/** The table on the screen. */
void outcomes_print(const job *p);
/** <folder>/predictions.h5, predictions.fits and probe.json. Collective; agreed. */
syz_status outcomes_write(job *p);
