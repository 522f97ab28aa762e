/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * flow: posteriors of one to ten labels given a context (an embedding), by conditional rational-quadratic spline flows
 * and ensembles of them: density, gradient, training, draws, recalibration.
 *
 * Axes: N objects, C context numbers, D labels, M members, J draws. Labels are float64 in their own units and are
 * transformed inside (syz_flow_label); "standardised" means after that. Method: src/flow/engine.h.
 * Nothing is collective but what says so; no result depends on ranks, threads or the place of an object in its array.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"

enum {
  SYZ_FLOW_LABELS = 10,
  SYZ_FLOW_BINS = 64,
  SYZ_FLOW_LAYERS = 16,
  SYZ_FLOW_HIDDEN_LAYERS = 8,
  SYZ_FLOW_LEVELS = 5
};

/* ---------------------------------------------------------------- labels */

/**
 * How a label y becomes s = (g(y) - mean) / scale: g is y itself, ln(y - low), or ln((y - low) / (high - y)).
 */
typedef enum syz_flow_transform { SYZ_FLOW_LINEAR, SYZ_FLOW_LOG, SYZ_FLOW_LOGIT } syz_flow_transform;
typedef struct syz_flow_label {
  char name[64];                /**< for messages */
  syz_flow_transform transform; /**< log: above `low`; logit: between `low` and `high` */
  double low, high;
  double mean, scale; /**< of g(y); set by syz_flow_labels_fit */
} syz_flow_label;

/**
 * Set mean and scale (deviation, divided by n - ddof) from training rows y [n, D]. `ok` and *left_out (each may be
 * NULL) as below. SYZ_ERR_DATA names a label that is constant or has less than two values, SYZ_ERR_INPUT one whose
 * bounds make no domain.
 */
syz_status syz_flow_labels_fit(syz_flow_label *label, int labels, int64_t n, const double *y, int ddof, uint8_t *ok,
                               int64_t *left_out);
/**
 * y [n, D] -> s [n, D] and jacobian [n] = sum over labels of ln ds/dy (may be NULL). A value that is not finite or
 * outside of the transform's domain: with ok [n] its row has ok 0 and zeros, and *left_out counts it; with ok NULL it
 * is SYZ_ERR_DATA, with label, value, row and domain.
 */
syz_status syz_flow_labels_apply(const syz_flow_label *label, int labels, int64_t n, const double *y, double *s,
                                 double *jacobian, uint8_t *ok, int64_t *left_out);
/** s [n, D] -> y [n, D]; may be the same array. */
void syz_flow_labels_undo(const syz_flow_label *label, int labels, int64_t n, const double *s, double *y);

/* ----------------------------------------------------------------- shape */

typedef enum syz_flow_kind {
  SYZ_FLOW_ELEMENTWISE,    /**< each label its own spline given the context: no correlation (AstroCLIP's) */
  SYZ_FLOW_AUTOREGRESSIVE, /**< label d given the context and labels 0 .. d - 1 */
  SYZ_FLOW_COUPLING        /**< the last D - D/2 labels given the context and the first D/2, which stay */
} syz_flow_kind;
const char *syz_flow_kind_name(syz_flow_kind kind); /**< "elementwise", "autoregressive", "coupling" */

/** One member. Conditioner: `hidden_layers` linear layers of `hidden` numbers with ReLU, then widths | heights |
 * slopes, each label after label. Between layers the order of labels is reversed. */
typedef struct syz_flow_shape {
  syz_flow_kind kind;
  int labels, context;
  int layers, hidden, hidden_layers;
  int bins;         /**< K */
  double bound;     /**< B: the identity outside of [-B, B], standardised */
  double end_slope; /**< 1; Quirk: pyro has 0.999, where the density jumps by 0.1 % at the ends */
  bool keeps_order; /**< do not reverse: an autoregressive flow then has its first label's CDF */
} syz_flow_shape;

typedef enum syz_flow_precision { SYZ_FLOW_F32, SYZ_FLOW_F64 } syz_flow_precision;
/** How context columns are scaled before the network. */
typedef enum syz_flow_scaling {
  SYZ_FLOW_AS_IS,
  SYZ_FLOW_COLUMNS, /**< mean and deviation of each column */
  SYZ_FLOW_WHOLE    /**< Quirk: one mean and one deviation (n - 1) of all numbers (AstroCLIP) */
} syz_flow_scaling;

typedef struct syz_flow_options {
  uint64_t seed;
  int members;
  syz_flow_shape shape;         /**< of all members; what follows may vary it */
  bool draws_shapes;            /**< hidden = ceil(exp(U(ln 16, ln 32))), layers = 2 or 3, per member, as published */
  const syz_flow_shape *shapes; /**< [members] given ones, as read from a file; NULL */
  const syz_flow_label *label;  /**< [D], fitted */
  syz_flow_precision precision;
  int threads; /**< 0: one */
} syz_flow_options;
/** A sound default: autoregressive, 8 bins, box 5, hidden 32 x 3, 3 layers, 1 member, float32. */
syz_flow_options syz_flow_options_default(int labels, int context);
/** AstroCLIP's: elementwise, box 3, end slope 0.999, order kept, 10 members of drawn shapes. */
syz_flow_options syz_flow_options_astroclip(int labels, int context);

/** An ensemble of M members: log q = logsumexp over members - ln M. */
typedef struct syz_flow syz_flow;
/** With initial weights (U(+-1/sqrt(inputs)), as PyTorch's linear layers) from (seed, member). SYZ_ERR_INPUT names what
 * is out of range. */
syz_status syz_flow_create(const syz_flow_options *options, syz_flow **out);
void syz_flow_destroy(syz_flow **f);
int syz_flow_members(const syz_flow *f);
const syz_flow_shape *syz_flow_member_shape(const syz_flow *f, int member);
const syz_flow_label *syz_flow_label_of(const syz_flow *f, int label);
syz_flow_precision syz_flow_precision_of(const syz_flow *f);
void syz_flow_set_threads(syz_flow *f, int threads);

/** Scale columns of context [n, C] by their mean and deviation; a constant column becomes 0. */
syz_status syz_flow_scale_context(syz_flow *f, syz_flow_scaling scaling, int64_t n, const float *context);

/* ------------------------------------------------------------ parameters */

/** A weight [rows, columns] or bias [rows] (columns 0). */
typedef struct syz_flow_tensor {
  char name[96]; /**< "member.<m>.layer.<l>.dimension.<d>.linear.<j>.weight" or ".bias" */
  int64_t rows, columns;
  int64_t offset; /**< in the member's block of parameters */
  void *data;     /**< float or double, by the flow's precision; borrowed; may be written to */
} syz_flow_tensor;
/** Dimension d of an autoregressive flow is the network of the d-th label in the order of that layer; other kinds have
 * dimension 0 alone, which gives all labels that the layer moves. */
int64_t syz_flow_tensors(const syz_flow *f, int member);
syz_flow_tensor syz_flow_tensor_get(const syz_flow *f, int member, int64_t i);
/** Numbers in a member's block, and the block. */
int64_t syz_flow_parameters(const syz_flow *f, int member);
void *syz_flow_parameter_block(const syz_flow *f, int member);

/* --------------------------------------------------------------- density */

/**
 * log_q [n] of labels y [n, D], in label units (recalibrated, if so), of the ensemble. jacobian [n] (may be NULL):
 * log_q - jacobian is that of standardised labels. each [n, D] (may be NULL): log of the marginal density of each
 * label, standardised, where the flow has it (syz_flow_has_marginal), else NaN. A label outside of its domain has log_q
 * -inf. NaN in a context gives NaN.
 */
syz_status syz_flow_log_density(const syz_flow *f, int64_t n, const float *context, const double *y, double *log_q,
                                double *jacobian, double *each);
/** The same for many y [n, D] of one context [C]: grids, draws. */
syz_status syz_flow_log_density_at(const syz_flow *f, const float *context, int64_t n, const double *y, double *log_q);
/** Whether density and CDF of this label alone are known: all of an elementwise flow, the only label, the first of an
 * autoregressive flow that keeps its order. */
bool syz_flow_has_marginal(const syz_flow *f, int label);
/** cdf [n] of that label at y [n, D], for PIT: mean over members. SYZ_ERR_INPUT when the flow does not have it. */
syz_status syz_flow_cdf(const syz_flow *f, int label, int64_t n, const float *context, const double *y, double *cdf);

typedef struct syz_flow_nll {
  int64_t n;                    /**< objects counted: finite log_q */
  int64_t infinite;             /**< the others: a label outside of its domain, a context with NaN */
  double joint, per_label;      /**< mean -log q, standardised; the same / D (AstroCLIP's) */
  double joint_units;           /**< in label units */
  double each[SYZ_FLOW_LABELS]; /**< mean of each marginal, standardised; NaN where the flow has none */
} syz_flow_nll;
syz_status syz_flow_nll_of(const syz_flow *f, int64_t n, const float *context, const double *y, syz_flow_nll *out);

/**
 * One member on standardised labels s [n, D], no calibration: log_q [n]; and, for L = sum weight[i] log_q[i] (weight
 * NULL: 1), the gradients dparameters [block] and dcontext [n, C] (of the scaled context), ds [n, D], float64 in any
 * precision; each of these three may be NULL.
 */
syz_status syz_flow_gradient(const syz_flow *f, int member, int64_t n, const float *context, const double *s,
                             const double *weight, double *log_q, double *dparameters, double *ds, double *dcontext);
/** One member: standardised s [n, D] -> base normals z [n, D]; and back. */
syz_status syz_flow_to_base(const syz_flow *f, int member, int64_t n, const float *context, const double *s, double *z);
syz_status syz_flow_from_base(const syz_flow *f, int member, int64_t n, const float *context, const double *z,
                              double *s);

/* ----------------------------------------------------------------- draws */

/**
 * y [n, J, D] in label units; log_q [n, J] of them (may be NULL: as many densities as members and draws). Draw j of an
 * object is a function of (seed, object id, j): members take turns, beginning with one drawn for the object. `seed`:
 * the draws' own.
 */
syz_status syz_flow_draw(const syz_flow *f, uint64_t seed, int64_t n, const float *context, const int64_t *id,
                         int64_t draws, double *y, double *log_q);

/** What draws say about one label of one object. */
typedef struct syz_flow_summary {
  double quantile[SYZ_FLOW_LEVELS]; /**< 5, 16, 50, 84, 95 % */
  double mean, deviation;
  double mode;            /**< of a Gaussian kernel density of the draws, Silverman's bandwidth */
  double low_68, high_68; /**< shortest intervals that hold 68.27 % and 95.45 % of the draws */
  double low_95, high_95;
} syz_flow_summary;
extern const double syz_flow_levels[SYZ_FLOW_LEVELS];
/** y [n, J, D] -> summary [n, D]. SYZ_ERR_INPUT for less than 2 draws. */
syz_status syz_flow_summarise(const syz_flow *f, int64_t n, int64_t draws, const double *y, syz_flow_summary *summary);
/**
 * each [n, D]: log of each label's marginal density at y [n, D], standardised, by a Gaussian kernel over draws
 * [n, J, D]: for flows that do not have it. With 1,000 draws the mean is some 0.01 below the truth.
 */
syz_status syz_flow_marginals_of_draws(const syz_flow *f, int64_t n, int64_t draws, const double *draw, const double *y,
                                       double *each);
/** Place of the draw with the largest log_q [J]: the joint mode among the draws. */
int64_t syz_flow_joint_mode(int64_t draws, const double *log_q);

/**
 * Marginal densities in the cells of a grid, in label units: density [n, D, cells] is the probability of a cell by its
 * width, edge [D, cells + 1] rising. From the flow where it has the marginal, else by a kernel over draws [n, J, D] of
 * these objects (src/flow/grid.c); what lies outside of the grid is missing. met [n, D] (may be NULL): mean density
 * where the truth of a calibrated posterior lies, so that the CDE loss is expected to be integral of f^2 - 2 met.
 * SYZ_ERR_INPUT: edges that do not rise, less than 2 draws.
 */
syz_status syz_flow_grid(const syz_flow *f, int64_t n, const float *context, int64_t draws, const double *draw,
                         int64_t cells, const double *edge, double *density, double *met);

/* ----------------------------------------------------------- recalibrate */

enum { SYZ_FLOW_KNOTS = 32 };
typedef enum syz_flow_calibration_kind {
  SYZ_FLOW_RAW,
  SYZ_FLOW_TEMPERATURE, /**< base normals times T: density and draws */
  SYZ_FLOW_PIT          /**< each label's CDF u -> map(u): draws; density and CDF where marginals are known */
} syz_flow_calibration_kind;
/** What was done on validation objects; to be stated in every file. */
typedef struct syz_flow_calibration {
  syz_flow_calibration_kind kind;
  int64_t n;                                       /**< validation objects */
  double temperature;                              /**< 1: none */
  double nll_before, nll_after;                    /**< temperature: joint, standardised, of the validation objects */
  double map[SYZ_FLOW_LABELS][SYZ_FLOW_KNOTS + 1]; /**< share of PIT values below each knot; straight between */
} syz_flow_calibration;
/** T that minimises the joint NLL of validation objects (never test ones); the flow uses it from now on. */
syz_status syz_flow_calibrate_temperature(syz_flow *f, int64_t n, const float *context, const double *y);
/** From the PIT values [n, D] of validation objects (CDF, or share of draws below). SYZ_FLOW_KNOTS objects with uniform
 * values are added, so that the map can be inverted. */
syz_status syz_flow_calibrate_pit(syz_flow *f, int64_t n, const double *pit);
const syz_flow_calibration *syz_flow_calibration_of(const syz_flow *f);
/** As read from a file, or {SYZ_FLOW_RAW, .temperature = 1}. SYZ_ERR_INPUT when it is not monotone. */
syz_status syz_flow_set_calibration(syz_flow *f, const syz_flow_calibration *calibration);

/* -------------------------------------------------------------- training */

/** Rows: the same on all ranks (members are dealt whole). Borrowed for as long as the training lives. */
typedef struct syz_flow_rows {
  int64_t n;
  const float *context; /**< [n, C] */
  const double *y;      /**< [n, D], label units; a value outside of its domain is SYZ_ERR_DATA */
} syz_flow_rows;
typedef enum syz_flow_stop {
  SYZ_FLOW_ALL_EPOCHS,
  SYZ_FLOW_PATIENCE,      /**< `patience` epochs without a better validation loss */
  SYZ_FLOW_PUBLISHED_STOP /**< after epoch 10: validation loss above the mean of the last five */
} syz_flow_stop;
typedef struct syz_flow_training_options {
  int epochs, batch;
  double lr, lr_min; /**< half a cosine from one to the other */
  bool lr_by_epoch;  /**< constant within an epoch, as published; else by step */
  double beta1, beta2, eps;
  double clip_norm; /**< largest norm of a batch's gradient; 0: any */
  syz_flow_stop stop;
  int patience;
  bool keeps_last; /**< Quirk: end with the last weights, as published, not with the best */
} syz_flow_training_options;
syz_flow_training_options syz_flow_training_default(void);   /**< Adam 1e-3, batch 128, 25 epochs, best weights */
syz_flow_training_options syz_flow_training_astroclip(void); /**< Adam 5e-4 to 1e-6, batch 128, 25 epochs, last */

typedef struct syz_flow_training syz_flow_training;
/** Scales nothing: syz_flow_scale_context comes first. Collective; agreed. */
syz_status syz_flow_training_create(syz_comm *c, syz_flow *f, const syz_flow_training_options *options,
                                    const syz_flow_rows *train, const syz_flow_rows *valid, syz_flow_training **out);
void syz_flow_training_destroy(syz_flow_training **t);
/**
 * Train all members for at most `epochs` more epochs each; afterwards all ranks have all states and *is_done says
 * whether all are at their end. The flow then has the best (or last) weights so far of every member. Member m is
 * trained by rank m mod size; its batches are a function of (seed, member, epoch).
 *
 * Collective; agreed. SYZ_ERR_NUMERIC names member and epoch when a loss is not finite: that member has its last good
 * weights, and it counts as done; the others have had their epochs.
 */
syz_status syz_flow_train(syz_flow_training *t, int epochs, bool *is_done);

/** State of a member as plain arrays, the same on all ranks between calls of syz_flow_train: to be written to a file
 * after it, and read back into them after syz_flow_training_create and before it. */
typedef struct syz_flow_array {
  const char *name; /**< weight, moment1, moment2, best, counters, train_loss, valid_loss */
  char type;        /**< 'f' float, 'd' double, 'i' int64_t */
  int64_t n;
  void *data; /**< borrowed; may be written to */
} syz_flow_array;
enum { SYZ_FLOW_ARRAYS = 7 };
syz_flow_array syz_flow_state(syz_flow_training *t, int member, int i);
/** Same bits, same state: of all members. */
uint64_t syz_flow_state_checksum(syz_flow_training *t);

typedef struct syz_flow_progress {
  int64_t epochs, steps, best_epoch; /**< done; the best counts from 0, -1: none yet */
  bool is_done, has_diverged;
  double best_loss;                      /**< validation: mean -log q, standardised */
  const double *train_loss, *valid_loss; /**< [epochs] */
} syz_flow_progress;
syz_flow_progress syz_flow_progress_of(const syz_flow_training *t, int member);
