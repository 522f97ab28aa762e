/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * figures: figures of merit of predictions, classifications, rankings and posteriors, and their errors.
 *
 * Pure functions of arrays: nothing is collective, logged or kept. Axes: n objects, m draws per object, d labels.
 * Sums are float64 in an order that the data fix. Unless a comment says otherwise:
 * - a NaN anywhere in the input makes the figure NaN: whoever has unknown values leaves them out first (syz_known);
 * - fewer than 2 objects give NaN;
 * - the functions that need memory return a status: SYZ_ERR_MEMORY when there is none, and no other failure;
 * - quantiles are straight lines between order statistics (NumPy's default, type 7 of Hyndman & Fan 1996,
 *   doi:10.1080/00031305.1996.10473566).
 */
#pragma once

#include "syzygy/base.h"

/* ---------------------------------------------------------------- arrays */

/** Objects at which all `arrays` arrays x[a] [n] are finite: their numbers to index [n], ascending; returns how many.
 */
int64_t syz_known(int64_t n, int arrays, const double *const *x, int64_t *index);
/** Bin b with edge[b] <= x < edge[b + 1], the last edge inside; -1 outside and for NaN. edge [bins + 1] ascending. */
int syz_bin_of(double x, int bins, const double *edge);
/** Places of x in ascending order: x[order[0]] <= x[order[1]] ...; equal ones by number, NaN last. */
syz_status syz_order(int64_t n, const double *x, int64_t *order);
/** Ranks 1 .. n, ascending; equal ones share the mean of their ranks. NaN ranks all when one x is NaN. */
syz_status syz_ranks(int64_t n, const double *x, double *rank);
/** Quantiles of x at level [levels] in [0, 1]. All NaN when n < 1. */
syz_status syz_quantiles(int64_t n, const double *x, int levels, const double *level, double *out);
/** Spearman's rank correlation: Pearson's of the ranks. NaN when a or b is constant. */
syz_status syz_spearman(int64_t n, const double *a, const double *b, double *out);

/* ------------------------------------------------------------ regression */

/** 1 - sum (y - p)^2 / sum (y - mean y)^2; NaN when y is constant. The second takes float32. */
double syz_r_squared_f64(int64_t n, const double *y, const double *prediction);
double syz_r_squared(const float *y, const float *prediction, int64_t n);

/** Photometric redshifts in both conventions, of e = (p - z)/(1 + z). */
typedef struct syz_photoz_figures {
  int64_t n;
  double sigma_nmad;    /**< 1.4826 median |e - median e| */
  double bias_mean;     /**< mean e */
  double eta;           /**< share of |e| > 0.15 */
  double sigma_iqr;     /**< LSST: (q75 - q25)/1.349 */
  double bias_median;   /**< LSST: median e */
  double lsst_outliers; /**< LSST: share of |e| > max(0.06, 3 sigma_iqr) */
} syz_photoz_figures;
/** All NaN when an e is not finite. */
syz_status syz_photoz_score(int64_t n, const double *z, const double *prediction, syz_photoz_figures *out);
/** The same for the objects of each bin of `by` [n] (true redshift, magnitude): out [bins], edges as syz_bin_of. */
syz_status syz_photoz_bins(int64_t n, const double *z, const double *prediction, const double *by, int bins,
                           const double *edge, syz_photoz_figures *out);

/* --------------------------------------------------------------- classes */

enum { SYZ_CLASSES_MAX = 64 };

/** What a table of true against predicted classes says. Classes that occur neither in truth nor in prediction count
 * nowhere. */
typedef struct syz_class_figures {
  int classes;
  int64_t n;
  double accuracy;
  double balanced_accuracy;  /**< mean of the recalls of the classes that occur in truth */
  double macro_f1, mean_iou; /**< mean over the classes that occur in truth or prediction */
  double weighted_f1;        /**< F1 weighted by the numbers of the true classes */
  double majority;           /**< accuracy of always saying the commonest class */
  double recall[SYZ_CLASSES_MAX], f1[SYZ_CLASSES_MAX],
      iou[SYZ_CLASSES_MAX]; /**< NaN for a class that has none; iou: both / either */
} syz_class_figures;
/** Confusion table count [classes, classes], rows truth, columns prediction; objects where one of the two is not
 * 0 .. classes - 1 are left out. Returns how many were counted. */
int64_t syz_class_count(int64_t n, const int32_t *truth, const int32_t *prediction, int classes, int64_t *count);
/** count as above; 1 <= classes <= SYZ_CLASSES_MAX. One object is enough; all NaN without objects. */
void syz_class_score(const int64_t *count, int classes, syz_class_figures *out);
/** Share of rows [n, columns] that agree in every column. NaN when n < 1. */
double syz_exact_match(int64_t n, int columns, const int32_t *truth, const int32_t *prediction);

/** Objects whose probability lies in one of equal steps of [0, 1]. Empty: n 0, the rest NaN. */
typedef struct syz_reliability_bin {
  int64_t n;
  double probability; /**< mean of what was said */
  double share;       /**< of the objects for which it is true */
  double error;       /**< sqrt(share (1 - share)/n) */
} syz_reliability_bin;
/**
 * Reliability of probabilities [n] of something that is_true [n] or not: bin [bins], the upper end of [0, 1] in the
 * last one. Returns the expected calibration error, sum over bins of (n_b/n) |share - probability| (Guo et al. 2017,
 * arXiv:1706.04599); NaN, with empty bins, when a probability is not in [0, 1].
 */
double syz_reliability(int64_t n, const double *probability, const uint8_t *is_true, int bins,
                       syz_reliability_bin *bin);
/** Of rows of probabilities [n, classes]: the largest of each (ties to the lower class), and whether that is the true
 * class. For the reliability of a classifier. */
void syz_top_class(int64_t n, int classes, const double *probability, const int32_t *truth, double *top,
                   uint8_t *is_right);
/** Mean (p - is_true)^2 (Brier 1950). */
double syz_brier(int64_t n, const double *probability, const uint8_t *is_true);
/** Mean over objects of the sum over classes of (p - 1[class is true])^2, from 0 to 2: Brier's own form. NaN when a
 * truth is none of the classes. */
double syz_brier_classes(int64_t n, int classes, const double *probability, const int32_t *truth);

/* --------------------------------------------------------------- ranking */

/**
 * Ranking by score, larger first, of positive objects among all. A cut takes objects of equal score together; the cut
 * that takes nothing has completeness, false-positive rate and contamination 0.
 */
typedef struct syz_ranking_figures {
  int64_t n, positives;
  double auc;               /**< share of pairs (positive, negative) in the right order, ties half; NaN with one kind */
  double average_precision; /**< sum over cuts of (change of completeness) x precision; NaN without positives */
  double completeness; /**< largest true-positive rate of cuts with false-positive rate <= limit; NaN with one kind */
  double its_contamination; /**< false / selected at that cut, of several the one with the fewest false */
  double completeness_pure; /**< largest true-positive rate of cuts with false / selected <= limit; NaN as above */
} syz_ranking_figures;
/** limit in [0, 1]: 0.22 for Desmons et al. 2023. Infinite scores are in order. */
syz_status syz_ranking_score(int64_t n, const double *score, const uint8_t *is_positive, double limit,
                             syz_ranking_figures *out);
/**
 * nDCG@k: sum over the first k places of gain/log2(rank + 1), divided by the largest possible one (Jarvelin &
 * Kekalainen 2002, doi:10.1145/582415.582418); equal scores share the mean of their gains (McSherry & Najork 2008,
 * doi:10.1007/978-3-540-78646-7_38). NaN when a gain is negative or all are 0.
 */
syz_status syz_ndcg(int64_t n, const double *score, const double *gain, int64_t k, double *out);

/* ------------------------------------------------------------- retrieval */

/** Where a query's own object stands in an index: its partner is the first valid row with the query's id. */
typedef struct syz_pair {
  int64_t row;    /**< partner, or -1 when the id is not in the index */
  int64_t larger; /**< rows of other ids that are strictly nearer than the partner */
  int64_t ties;   /**< rows of other ids exactly as near as the partner */
  float score;    /**< the partner's own; NaN without one */
} syz_pair;

enum { SYZ_RECALLS = 4 };
/** 1, 5, 10, 50. */
extern const int syz_recall_at[SYZ_RECALLS];

/**
 * Retrieval of known pairs among `candidates` entries. Where entries tie with the partner, its place is taken to be
 * uniform among them (so that a collapsed embedding scores chance, not 100 %).
 */
typedef struct syz_pair_figures {
  int64_t pairs, candidates;
  double recall[SYZ_RECALLS]; /**< fraction of pairs within the first 1, 5, 10, 50 */
  double chance[SYZ_RECALLS]; /**< k / candidates, at most 1 */
  double median_rank, mean_reciprocal_rank, chance_median_rank;
} syz_pair_figures;
/** pair [n]; entries without a partner do not count. One pair is enough; NaN figures when there is none. */
syz_status syz_pair_score(const syz_pair *pair, int64_t n, int64_t candidates, syz_pair_figures *out);

/* ---------------------------------------------- calibration of posteriors */

/** Draws of one label: object i's draw j is at[(i m + j) stride]; label l of an array [n, m, d] is {array + l, m, d}.
 */
typedef struct syz_draws {
  const double *at;
  int64_t m, stride;
} syz_draws;

/** Probability integral transform from draws: share of draws below the truth y [n] + half of those equal, to pit [n].
 * NaN for an object with a NaN, and for all when m < 1. */
void syz_pit_of_draws(int64_t n, const double *y, syz_draws draw, double *pit);
/** Credibility of the highest-density region that holds the truth: share of draws [n, m] with larger log density than
 * the truth's [n] + half of those equal. NaN as above; -inf is a density of 0. */
void syz_density_credibility(int64_t n, int64_t m, const double *log_truth, const double *log_draw, double *out);
/** Credibility |2 pit - 1| of the central interval that ends at the truth. */
void syz_central_credibility(int64_t n, const double *pit, double *out);

enum { SYZ_PIT_BINS = 20 };
/** Is pit [n] uniform? */
typedef struct syz_pit_figures {
  int64_t n;
  double mean;                 /**< 1/2, error 1/sqrt(12 n), if calibrated; more: truths above the posteriors */
  double ks, ks_p;             /**< Kolmogorov-Smirnov: statistic D, probability of a larger one */
  double cvm, cvm_p;           /**< Cramer-von Mises: statistic n omega^2, probability of a larger one */
  int64_t count[SYZ_PIT_BINS]; /**< of equal bins of [0, 1], the upper end in the last one */
  double expected[SYZ_PIT_BINS], error[SYZ_PIT_BINS]; /**< counts of calibrated posteriors, n/20 or, from m draws, by
                                                         how many of 0/m .. m/m lie in the bin; their binomial errors */
  int freedom;                                        /**< bins that m draws can reach, less 1: 19 as a rule */
  double chi2;    /**< sum over these of (count - expected)^2/expected; freedom +- sqrt(2 freedom) if calibrated */
  double outside; /**< share outside of [1e-4, 1 - 1e-4] */
  double outside_expected, outside_error; /**< of calibrated posteriors; from m draws many a value is exactly 0 or 1 */
} syz_pit_figures;
/** m: how many draws the values come from; 0: from a distribution function. From draws, D is off by up to
 * 1/m, which must be well below 1/sqrt n. All NaN, counts 0, when a value is not in [0, 1]. */
syz_status syz_pit_score(int64_t n, const double *pit, int64_t m, syz_pit_figures *out);
/** Probability of D > d for n uniform numbers (src/figures/uniform.c): to 1e-10 for n <= 140 and for n d^2 > 3, to 1e-7
 * for n d^2 > 2.2, else to 2e-6. */
double syz_ks_probability(int64_t n, double d);
/** Probability of n omega^2 > x: Csorgo & Faraway 1996 (J. R. Stat. Soc. B 58, 221), with the term 1/n. */
double syz_cvm_probability(int64_t n, double x);

/** covered [levels]: share of objects with credibility <= level, and error sqrt(a (1 - a)/n) of a calibrated posterior.
 */
void syz_coverage(int64_t n, const double *credibility, int levels, const double *level, double *covered,
                  double *error);

/**
 * Reference points for TARP that depend on x: the truth of another object, drawn from the k whose predictions
 * (posterior means) are nearest to its own, Euclidean with every label scaled to the unit interval of the truths.
 *
 * truth, prediction, reference [n, d]; id [n] names the random stream of an object, NULL: its number. k >= 1 is cut to
 * n - 1; NaN when n < 2 or something is not finite. Predictions of another source see what the tested posterior
 * ignores. O(n^2 d).
 */
syz_status syz_tarp_references(int64_t n, int64_t d, const double *truth, const double *prediction, int64_t k,
                               uint64_t seed, const int64_t *id, double *reference);
/** scale [d]: 1 / (largest - smallest truth) of each label, which takes the truths [n, d] to the unit cube; 0 for a
 * constant label. False, and all 0, when every label is constant or a truth is not finite. */
bool syz_tarp_scales(int64_t n, int64_t d, const double *truth, double *scale);
/** TARP (Lemos et al. 2023, arXiv:2302.03026): share f [n] of draws [n, m, d] that are nearer to the reference [n, d]
 * than the truth [n, d], Euclidean with labels times scale [d], of all the objects; NaN when all scales are 0. */
void syz_tarp_shares(int64_t n, int64_t m, int64_t d, const double *scale, const double *truth, const double *draw,
                     const double *reference, double *f);
/** Expected coverage: share of objects with f < level; above the level: too wide, below: too narrow; with
 * references far away, that holds for the upper half of the curve, and the lower one is its mirror image. */
void syz_tarp_curve(int64_t n, const double *f, int levels, const double *level, double *expected);

/** Continuous ranked probability score of each object from its draws, in the label's unit: mean |X - y| - half the mean
 * |X - X'|, pairs without replacement (Gneiting & Raftery 2007, doi:10.1198/016214506000001437; Zamo & Naveau 2018,
 * doi:10.1007/s11004-017-9709-7). expected [n], may be NULL: what a calibrated posterior has in the mean, half the mean
 * |X - X'|. O(m log m). NaN when m < 2. */
syz_status syz_crps_of_draws(int64_t n, const double *y, syz_draws draw, double *crps, double *expected);
/** CDE loss of each object (Izbicki & Lee 2017, doi:10.1214/17-EJS1302): integral of f^2 by trapezoids - 2 f(y), with
 * density [n, points] on grid [points >= 2], ascending. f(y) is at_truth [n], or when that is NULL the value at the
 * grid point nearest to y (RAIL; ties to the lower). expected [n], may be NULL: what a calibrated posterior has in the
 * mean, minus the integral. */
void syz_cde_loss(int64_t n, int64_t points, const double *grid, const double *density, const double *y,
                  const double *at_truth, double *loss, double *expected);

/** Negative log likelihood in nats; means over objects. */
typedef struct syz_nll_figures {
  int64_t n;
  double standardised; /**< in units of the standardised labels */
  double label;        /**< in the labels' units: + sum ln sigma */
  double per_label;    /**< standardised / d */
  double error;        /**< deviation over objects (n - 1) / sqrt n, of both */
} syz_nll_figures;
/** log_density [n] of the d labels together, standardised by sigma [d] (NULL: all 1). */
void syz_nll(int64_t n, const double *log_density, int d, const double *sigma, syz_nll_figures *out);

/** Split conformal interval (Vovk et al. 2005; Lei et al. 2018, doi:10.1080/01621459.2017.1307116): the
 * ceil((1 - alpha)(n + 1))-th smallest score |y - p|/scale of validation objects; infinite when there are too few. */
syz_status syz_conformal_quantile(int64_t n, const double *score, double alpha, double *out);

/** A mean over objects that has a known value when the posterior is calibrated (CRPS, CDE loss, -log density). */
typedef struct syz_self_check {
  double value, expected, error; /**< error: deviation of the objects' differences (n - 1) / sqrt n */
} syz_self_check;
/** Of value [n] against expected [n], object by object. */
syz_self_check syz_check_mean(int64_t n, const double *value, const double *expected);

/** What is known about the calibration of one posterior; what is NULL or 0 is not looked at. */
typedef struct syz_calibration {
  const char *name; /**< of the label, or of all together: for the sentences */
  int64_t n;        /**< objects */
  const syz_pit_figures *pit;
  int levels;
  const double *level, *central, *density, *tarp; /**< [levels]: coverage of central intervals, of highest-density
                                                      regions, and TARP's curve */
  const double *tarp_error;                       /**< [levels], by bootstrap, or NULL */
  const syz_self_check *crps, *cde, *nll;
} syz_calibration;
enum { SYZ_WARNINGS_MAX = 96, SYZ_WARNING_TEXT = 256 };
typedef struct syz_warnings {
  int n;
  char text[SYZ_WARNINGS_MAX][SYZ_WARNING_TEXT];
} syz_warnings;
/** A sentence for each figure that is off by more than 3 of its errors (p-values: below 0.0027), with the worst level
 * of a curve. Figures that are NaN warn too. */
void syz_calibration_warn(const syz_calibration *c, syz_warnings *out);

/* ---------------------------------------------------------------- errors */

/**
 * Bootstrap over objects (Efron 1979): draw t of a run takes n objects with replacement, a function of (seed, t, n)
 * alone, so figures of two sources on the same objects are paired, and draws can be dealt out.
 */
typedef struct syz_bootstrap {
  uint64_t seed;
  int64_t first, draws; /**< draws first .. first + draws - 1; 0, 1000 as a rule */
} syz_bootstrap;
/** Objects index [n] of draw t, and how often each is in it, count [n] (either may be NULL). */
void syz_bootstrap_draw(uint64_t seed, int64_t t, int64_t n, int64_t *index, int32_t *count);

/** One resampling: index [n] objects in the order in which they were drawn, count [n] how often each was. */
typedef struct syz_redraw {
  int64_t n;
  const int64_t *index;
  const int32_t *count;
} syz_redraw;
enum { SYZ_BOOTSTRAP_MAX = 64 }; /**< figures at once: many labels and sources share the cost of drawing */
/** Figures of the resampled objects, to figure [figures]. */
typedef syz_status (*syz_redraw_figures)(void *context, const syz_redraw *r, double *figure);

/** value [figures] of all objects as they are, and drawn [figures, draws]; figures <= SYZ_BOOTSTRAP_MAX. Memory: two
 * arrays of n numbers. Fails as `f` does. */
syz_status syz_bootstrap_run(const syz_bootstrap *b, int64_t n, int figures, syz_redraw_figures f, void *context,
                             double *value, double *drawn);
/** Of the mean of x [n] (accuracy, NLL, CRPS, coverage ...). */
void syz_bootstrap_mean(const syz_bootstrap *b, int64_t n, const double *x, double *value, double *drawn);
/** Of R^2. */
syz_status syz_bootstrap_r_squared(const syz_bootstrap *b, int64_t n, const double *y, const double *prediction,
                                   double *value, double *drawn);
/** Of sigma_nmad, bias_mean, eta, sigma_iqr, bias_median, lsst_outliers: value [6], drawn [6, draws]. */
enum { SYZ_PHOTOZ_FIGURES = 6 };
syz_status syz_bootstrap_photoz(const syz_bootstrap *b, int64_t n, const double *z, const double *prediction,
                                double *value, double *drawn);
/** Of auc, average_precision, completeness, its_contamination, completeness_pure: value [5], drawn [5, draws]. */
enum { SYZ_RANKING_FIGURES = 5 };
syz_status syz_bootstrap_ranking(const syz_bootstrap *b, int64_t n, const double *score, const uint8_t *is_positive,
                                 double limit, double *value, double *drawn);
/** Of accuracy, balanced_accuracy, macro_f1, weighted_f1, from classes as syz_class_count: value [4], drawn [4, draws].
 */
enum { SYZ_CLASS_FIGURES = 4 };
syz_status syz_bootstrap_classes(const syz_bootstrap *b, int64_t n, const int32_t *truth, const int32_t *prediction,
                                 int classes, double *value, double *drawn);
/** Of TARP's curve: value [levels], drawn [levels, draws]. */
syz_status syz_bootstrap_tarp(const syz_bootstrap *b, int64_t n, const double *f, int levels, const double *level,
                              double *value, double *drawn);

/** A figure and its error. Draws that are NaN (a resampling with one class only) are left out. */
typedef struct syz_estimate {
  double value;
  double mean, deviation; /**< over draws (n - 1); NaN with fewer than 2 */
  double low, high;       /**< quantiles 2.5 and 97.5 % of the draws */
  int64_t draws;          /**< that count */
} syz_estimate;
syz_status syz_bootstrap_estimate(double value, int64_t draws, const double *drawn, syz_estimate *out);
/** Of a - b, from the same draws of two sources; flips: share of draws in which the sign is not that of the value (0
 * counts half; 1/2 when the value is 0). May be NULL. */
syz_status syz_bootstrap_difference(double a, double b, int64_t draws, const double *drawn_a, const double *drawn_b,
                                    syz_estimate *out, double *flips);
