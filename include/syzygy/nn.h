/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * nn: the training engine's numerical core. Matrix products on two engines, transformer layers forward and backward,
 * optimiser, schedules. Knows nothing of galaxies.
 *
 * Precision: in bfloat16 the activations that enter a product are bfloat16, products accumulate in float32; the
 * residual stream, its gradient, statistics, weight gradients, master weights and moments are float32 always. In
 * float32 everything is float32. `act` below stands for the activation type of the compute context: syz_bf16 or float.
 * Nothing here is collective (but for blocks of a tensor group) or allocates after creation; "workspace" is scratch
 * memory that the caller plans (bytes from the matching *_bytes function, 64-byte aligned). Results for a row do not
 * depend on how many rows are in the call where noted: that is what makes 1 and 8 ranks agree.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/numbers.h"

/* -------------------------------------------------------- compute context */

typedef enum syz_dtype { SYZ_F32, SYZ_BF16 } syz_dtype;
static inline size_t syz_dtype_size(syz_dtype t) { return t == SYZ_F32 ? sizeof(float) : sizeof(syz_bf16); }

typedef enum syz_engine {
  SYZ_ENGINE_AUTO,
  SYZ_ENGINE_REFERENCE, /**< the plain loop, for tests */
  SYZ_ENGINE_BLIS,      /**< float32 everywhere */
  SYZ_ENGINE_ONEDNN,    /**< bfloat16 and float32, when the build has it */
  SYZ_ENGINE_NATIVE,    /**< own kernels with packed weights, for processors with AVX-512 */
} syz_engine;

/** Which engine, which activation type, how many threads. Created once; borrowed by every layer. */
typedef struct syz_compute syz_compute;

/**
 * `act` SYZ_BF16 needs AVX-512 and an engine that has the type (own kernels or oneDNN): otherwise float32 takes over, a
 * warning says so, and syz_compute_act tells. AUTO: own kernels, else oneDNN for bfloat16 and BLIS for float32, until
 * syz_compute_choose measures. Sets the thread counts of OpenMP, BLIS and oneDNN, and BLIS's kernels: call before any
 * other product. Layers and products of one context share scratch memory: one call at a time. SYZ_ERR_INPUT when an
 * engine is asked for by name and is not there.
 */
syz_status syz_compute_create(syz_dtype act, syz_engine engine, int threads, syz_compute **out);
/** What a run asks for. */
typedef struct syz_compute_options {
  syz_dtype act; /**< inputs of products */
  syz_engine engine;
  int threads;
  bool wants_int8; /**< products in 8-bit integers where that is allowed, of `act` elsewhere */
} syz_compute_options;
/** The part of it that every user of BLAS needs: BLIS's kernels by CPUID (BLIS 0.9 does not know new processors),
 * unless the user has set BLIS_ARCH_TYPE. For programs that call BLAS or ScaLAPACK without a compute context; call
 * before the first such call. */
void syz_blis_choose_kernels(void);
void syz_compute_destroy(syz_compute **c);
syz_dtype syz_compute_act(const syz_compute *c);
int syz_compute_threads(const syz_compute *c);
/** "own kernels avx512_bf16, bfloat16, 1 thread" for the banner. Borrowed. */
const char *syz_compute_describe(const syz_compute *c);
/** "own kernels avx512_bf16": what decides the bits of results; it stands in checkpoints. Borrowed. */
const char *syz_compute_name(const syz_compute *c);
/** "measured: amx 1250, oneDNN 870 GFLOP/s", or "" where nothing had to be measured. Borrowed. */
const char *syz_compute_measured(const syz_compute *c);
/** What computes, and what was measured, in one line of the log. */
void syz_compute_tell(const syz_compute *c);

/** A layer that a model has: y [rows, out] from x [rows, in]. */
typedef struct syz_layer_size {
  int64_t rows, out, in;
} syz_layer_size;
/**
 * For a context made with AUTO or NATIVE: take the fastest engine, or own kernels, by measuring these layers (with
 * `trains` the weight gradients too), the same one on all ranks and one that all can run; with float32 when not all
 * have bfloat16. `earlier`: the name that an earlier run had; it is taken unmeasured where it can be; "": none. A few
 * tens of milliseconds, with small layers or one engine none. Collective; agreed; before any layer is made.
 */
syz_status syz_compute_choose(syz_comm *world, syz_compute *c, const syz_layer_size *size, int n, bool trains,
                              const char *earlier);

/* --------------------------------------------------------- matrix product */

/** C[m,n] = op(A) op(B) (+ C when accumulate) (+ bias[n]) (then GELU), row-major; `batch` of them with the given
 * strides. */
typedef struct syz_gemm_shape {
  int64_t m, n, k;
  bool transpose_a, transpose_b; /**< A stored [k,m], B stored [n,k] */
  int64_t lda, ldb, ldc;         /**< elements between rows as stored; 0 = dense */
  int64_t batch;                 /**< >= 1 */
  int64_t stride_a, stride_b, stride_c;
  syz_dtype type_ab, type_c;
  bool accumulate; /**< type_c must be SYZ_F32 */
  bool has_bias, has_gelu;
  bool keeps_b; /**< B comes by syz_gemm_take alone; batch 1 */
} syz_gemm_shape;

/** A product prepared for one shape: creating is slow (milliseconds) and may allocate, running is not and does not. */
typedef struct syz_gemm syz_gemm;
syz_status syz_gemm_create(const syz_compute *c, const syz_gemm_shape *shape, syz_gemm **out);
void syz_gemm_destroy(syz_gemm **g);
/** bias: float32 [n] or NULL as the shape says. Rows of C do not depend on m (same k, n, engine). */
void syz_gemm_run(const syz_gemm *g, const void *a, const void *b, const float *bias, void *c);

/** Best matrix-product rate of one thread, in FLOP/s: the largest of several shapes and all engines that have the
 * context's type, best of repeated runs within about `seconds`. *by (may be NULL): who gave it, "amx", "oneDNN";
 * borrowed. */
double syz_gemm_limit(const syz_compute *c, double seconds, const char **by);
/** Rate of a thread's tiles (AMX) alone, in bfloat16 without loads, in FLOP/s; 0 without them. */
double syz_tile_limit(double seconds);

/* ----------------------------------------------------------------- linear */

/** y = x W^T + b, W [out, in] float32 master weights kept by the caller; packed copies in the engine's format are kept
 * here. */
typedef struct syz_linear syz_linear;

typedef enum syz_epilogue {
  SYZ_EPILOGUE_NONE,     /**< y act */
  SYZ_EPILOGUE_F32,      /**< y float32 */
  SYZ_EPILOGUE_RESIDUAL, /**< y float32, y += scale v, v = x W^T + b; v [rows, out] act is stored too when u != NULL */
  SYZ_EPILOGUE_GELU,     /**< y act = gelu(u), u = x W^T + b; u [rows, out] act is stored too when u != NULL */
} syz_epilogue;

/** `max_rows` bounds the rows of a call; `trains` also prepares the backward products. */
syz_status syz_linear_create(const syz_compute *c, int64_t out, int64_t in, int64_t max_rows, bool trains,
                             syz_linear **l);
void syz_linear_destroy(syz_linear **l);
/** Take new weights: once a step. bias, scale [out] may be NULL; scale (LayerScale) is used by the residual epilogue
 * only. */
void syz_linear_pack(syz_linear *l, const float *weight, const float *bias, const float *scale);
/** x [rows, in] act -> y [rows, out]. Same row, same bits, for any number of rows. */
void syz_linear_forward(const syz_linear *l, int64_t rows, const void *x, syz_epilogue epilogue, void *y, void *u);
/*
 * The forward product in 8-bit integers: weights with one scale for each output, activations with one scale and zero
 * for each row of each call. Sums are exact; bias, GELU and residual stay in float32, inputs and outputs of type act.
 * For inference: the backward pass knows nothing of it.
 */
/** Whether this processor has the instructions (AVX512_VNNI; on Arm I8MM). */
bool syz_compute_has_int8(const syz_compute *c);
/** The same of a context of that type of activations, before there is one. */
bool syz_has_int8(syz_dtype act);
/**
 * Make the int8 form of `weight`, beside the one that syz_linear_pack takes; it is not yet used. most [in], largest |x|
 * of each input as syz_linear_observe found it, moves the range of outlying inputs into the weights (Xiao et al. 2022,
 * arXiv:2211.10438): input j is divided and its weights are multiplied by sqrt(most_j / largest |w_j|). NULL: not.
 * SYZ_ERR_INPUT without the instructions or for in > 66000, SYZ_ERR_MEMORY.
 */
syz_status syz_linear_quantise(syz_linear *l, const float *weight, const float *most);
/** Which form forward calls use from now on. */
void syz_linear_use_int8(syz_linear *l, bool is_int8);
/** Drop the form of the weights that is not in use. The layer cannot be packed or switched afterwards. */
void syz_linear_settle(syz_linear *l);
/** Forward calls from now on raise most [in] to the largest |x| of each input; NULL: no longer. Of one thread at a
 * time. */
void syz_linear_observe(syz_linear *l, float *most);
/** dx [rows, in] act (written; may be NULL) from dy [rows, out] act. */
void syz_linear_backward_input(const syz_linear *l, int64_t rows, const void *dy, void *dx);
/** dweight [out, in] += dy^T x, dbias [out] += column sums of dy (dbias may be NULL). float32. With a scale, dy is the
 * gradient of the unscaled v: see syz_layerscale_backward. */
void syz_linear_backward_weight(const syz_linear *l, int64_t rows, const void *dy, const void *x, float *dweight,
                                float *dbias);

/* ------------------------------------------------------------------- pairs */

/**
 * Products between all rows of x [m, width] and of y [n, width], act: c = x y^T tile by tile, never whole; and, with a
 * weight w of every pair, dx += w y and dy += w^T x. What contrastive losses are made of: 2 m n width operations
 * forward, 6 backward.
 *
 * Rows are `stride` elements apart (syz_pairs_stride: the width, in bfloat16 rounded up to even) and what is behind the
 * width is zero; x and y are 4-byte aligned. dx [m, width], dy [n, width] float32. An element of c is the same
 * whichever tile it is in.
 */
typedef struct syz_pairs syz_pairs;
enum { SYZ_PAIRS_ROWS = 96, SYZ_PAIRS_COLUMNS = 256 };
/** Rows [row, row + rows) of x by rows [column, column + columns) of y; row and column are multiples of the two numbers
 * above. */
typedef struct syz_pairs_tile {
  int64_t row, rows, column, columns;
  const float *c; /**< [rows] SYZ_PAIRS_COLUMNS apart */
  void *w;        /**< backward only: weights act, [rows] ldw apart, all to be written */
  int64_t ldw;
} syz_pairs_tile;
/** What becomes of a tile. Called by several threads at once, in no order. */
typedef void (*syz_pairs_use)(void *context, const syz_pairs_tile *tile);

int64_t syz_pairs_stride(const syz_compute *c, int64_t width);
/** max_m, max_n: most rows of x and y in a call; `trains`: the backward products too. */
syz_status syz_pairs_create(const syz_compute *c, int64_t width, int64_t max_m, int64_t max_n, bool trains,
                            syz_pairs **out);
void syz_pairs_destroy(syz_pairs **p);
size_t syz_pairs_bytes(const syz_compute *c, int64_t width, int64_t max_m, int64_t max_n, bool trains);
/** The y of the calls that follow; copied. */
void syz_pairs_take(syz_pairs *p, int64_t n, const void *y);
/** The same piece by piece, in order, without `trains`: rows [first, first + n), of which the calls that follow have
 * the last; y holds these alone. All pieces but the last are multiples of 64 rows. */
void syz_pairs_take_piece(syz_pairs *p, int64_t first, int64_t n, const void *y);
void syz_pairs_product(syz_pairs *p, int64_t m, const void *x, syz_pairs_use use, void *context);
void syz_pairs_backward(syz_pairs *p, int64_t m, const void *x, syz_pairs_use use, void *context, float *dx, float *dy);

/* ---------------------------------------------------------- layernorm, GELU */

/** y act or float32 (`type_y`) [rows, width] = gain (x - mean) rstd + bias, x float32; mean, rstd [rows] kept (NULL:
 * not). */
void syz_layernorm_forward(syz_dtype type_y, void *y, float *mean, float *rstd, const float *x, const float *gain,
                           const float *bias, float eps, int64_t rows, int64_t width);
/** dx float32 += (is_added) or = ; dgain, dbias [width] +=. dy is act or float32 (`type_dy`). */
void syz_layernorm_backward(float *dx, bool is_added, float *dgain, float *dbias, syz_dtype type_dy, const void *dy,
                            const float *x, const float *mean, const float *rstd, const float *gain, int64_t rows,
                            int64_t width);
/** Exact GELU, u (1 + erf(u / sqrt 2)) / 2. */
void syz_gelu_forward(syz_dtype type, void *y, const void *u, int64_t n);
/** du = dy gelu'(u); du may be dy. */
void syz_gelu_backward(syz_dtype type, void *du, const void *dy, const void *u, int64_t n);

/* ------------------------------------------------------ transformer block */

/** Pre-norm block: x += ls1 proj(attention(norm1 x)); x += ls2 fc2(gelu(fc1(norm2 x))). */
typedef struct syz_block_config {
  int64_t dim, heads, hidden; /**< hidden = 4 dim in both towers */
  float eps;
  bool has_layerscale;
  float branch_scale; /**< both branches are multiplied by it; 0 stands for 1 */
  syz_comm *tensor;   /**< ranks that compute the block together; borrowed; NULL or one rank: alone */
  int planned_ranks;  /**< without a group, > 1: as one of so many ranks, to be asked for its bytes alone */
} syz_block_config;

/** Addresses of one block's parameters (or of their gradients) inside the caller's flat array; names as in the image
 * tower. */
typedef struct syz_block_parameters {
  float *norm1_gain, *norm1_bias;       /* [D] */
  float *qkv_weight, *qkv_bias;         /* [3D, D], [3D] */
  float *proj_weight, *proj_bias, *ls1; /* [D, D], [D], [D] or NULL */
  float *norm2_gain, *norm2_bias;       /* [D] */
  float *fc1_weight, *fc1_bias;         /* [4D, D], [4D] */
  float *fc2_weight, *fc2_bias, *ls2;   /* [D, 4D], [D], [D] or NULL */
} syz_block_parameters;

/**
 * Sequences of a few lengths in one array of rows: group g has count[g] sequences of tokens[g] rows each; groups lie
 * behind one another. The linear layers and norms of a block run over all rows at once, attention over each sequence.
 */
enum { SYZ_GROUPS_MAX = 8 };
typedef struct syz_sequences {
  int groups;
  int64_t count[SYZ_GROUPS_MAX], tokens[SYZ_GROUPS_MAX];
} syz_sequences;
int64_t syz_sequences_rows(const syz_sequences *s);

/** The sequences of each group that a branch computes, ascending; the others pass it by unchanged (stochastic depth).
 */
typedef struct syz_subset {
  const int64_t *kept[SYZ_GROUPS_MAX]; /**< [n[g]] numbers within the group */
  int64_t n[SYZ_GROUPS_MAX];
} syz_subset;

typedef struct syz_block syz_block;
/**
 * `most`: the largest count of each group that a call has. branch_scale: factor of both branches, 1 / (1 - rate) of
 * stochastic depth.
 *
 * A block with a tensor group of t ranks (src/nn/block_tensor.c): each rank has sequences of its own, the heads and
 * hidden columns are shared out. Forward and backward are then collective over the group, in the same order on all its
 * ranks, also with no sequences of one's own. Parameters and gradients keep their full layout on every rank; a rank
 * reads and adds to its share of them, so that the sum of all ranks' gradients is the whole. `most` and `kept` must be
 * the same on all ranks of the group, groups and tokens of a call too; counts and subsets are each rank's own.
 * SYZ_ERR_INPUT when t does not divide heads and hidden. Creating is not collective.
 */
syz_status syz_block_create(const syz_compute *c, const syz_block_config *config, const syz_sequences *most,
                            bool trains, syz_block **out);
void syz_block_destroy(syz_block **b);
/** Bytes that a rank of a tensor group sends, and as many that it receives, for each of its own rows in one block: in
 * so many forward passes and one backward pass. 0 for one rank. */
double syz_block_exchange_bytes(int64_t dim, int ranks, syz_dtype act, double forwards);
void syz_block_pack(syz_block *b, const syz_block_parameters *weights);
/** The products of a block, borrowed: for their int8 form. */
typedef enum syz_block_product {
  SYZ_BLOCK_QKV,
  SYZ_BLOCK_PROJ,
  SYZ_BLOCK_FC1,
  SYZ_BLOCK_FC2,
  SYZ_BLOCK_PRODUCTS
} syz_block_product;
syz_linear *syz_block_linear(syz_block *b, syz_block_product which);
/** Bytes of activations kept for the backward pass when each branch computes at most the sequences `kept`, and of
 * scratch (shared by all blocks). */
size_t syz_block_saved_bytes(const syz_block *b, const syz_sequences *kept);
size_t syz_block_workspace_bytes(const syz_block *b, const syz_sequences *kept);
/** x [rows, D] float32 in place. subset[2]: of the attention and of the MLP branch; NULL: all. saved NULL: inference;
 * workspace is always needed. Work and memory are in proportion to the rows kept. No row depends on which other
 * sequences are in the call. */
void syz_block_forward(const syz_block *b, const syz_sequences *s, const syz_subset *subset, float *x, void *saved,
                       void *workspace);
/** dx [rows, D] float32 in place; gradients +=, with every micro-batch. Sequences and subsets as in the forward call.
 */
void syz_block_backward(const syz_block *b, const syz_sequences *s, const syz_subset *subset, float *dx,
                        const void *saved, const syz_block_parameters *gradients, void *workspace);

/* ------------------------------------------------------------- small layers */

/** y = x / max(|x|, eps) per row, float32; norm [rows] kept. */
void syz_l2norm_forward(float *y, float *norm, const float *x, float eps, int64_t rows, int64_t width);
void syz_l2norm_backward(float *dx, const float *dy, const float *y, const float *norm, float eps, int64_t rows,
                         int64_t width);
/** Counter-based dropout, in place: element d of row r is kept with probability 1 - p, scaled by 1 / (1 - p); the mask
 * is a function of (seed, purpose DROPOUT, step, sample[r], layer, d) only. The backward pass is the same call on the
 * gradient. */
void syz_dropout(float *x, float p, uint64_t seed, uint64_t step, const int64_t *sample, uint32_t layer, int64_t rows,
                 int64_t width);

/* --------------------------------------------------------------- optimiser */

typedef struct syz_adamw {
  double lr, beta1, beta2, eps, weight_decay;
} syz_adamw;
/**
 * One AdamW step (Loshchilov & Hutter 2019, arXiv:1711.05101; PyTorch's form): w -= lr wd w; m, v updated with g *
 * gradient_scale; w -= lr m^ / (sqrt(v^) + eps). step counts from 1. Element-wise: equal for any partition of n.
 */
void syz_adamw_update(const syz_adamw *o, int64_t step, double gradient_scale, float *w, float *m, float *v,
                      const float *g, int64_t n, int threads);
/** The same bits on one thread, with syz_sum_of_bits of w, m, v, g before the update and of w, m, v after it; not in
 * the profile. */
void syz_adamw_update_summed(const syz_adamw *o, int64_t step, double gradient_scale, float *w, float *m, float *v,
                             const float *g, int64_t n, uint64_t before[4], uint64_t after[3]);
/** Sum of squares in float64, over fixed blocks in block order: does not depend on the thread count. */
double syz_sum_of_squares(const float *x, int64_t n, int threads);
/** Linear from 0 over the warm-up (step s of 0.. has lr * s / warmup... see schedule.c for the exact rule), then cosine
 * from lr to lr_min at `steps`. */
double syz_schedule_lr(int64_t step, double lr, double lr_min, int64_t warmup_steps, int64_t steps);
/** Half a cosine from `start` at step 0 to `end` at `steps` and after: weight decay, momentum of a moving average. */
double syz_schedule_cosine(int64_t step, double start, double end, int64_t steps);
/** From `start` in a straight line to `end` over `ramp_steps`, then `end`: the teacher's temperature. */
double syz_schedule_ramp(int64_t step, double start, double end, int64_t ramp_steps);

/** Arrays between types. */
void syz_convert_to_act(syz_dtype type, void *y, const float *x, int64_t n);
void syz_convert_to_f32(syz_dtype type, float *y, const void *x, int64_t n);

/* ------------------------------------------------------------------ profile */

/** What a layer's time is spent on. */
typedef enum syz_profile_kind {
  SYZ_PROFILE_PRODUCT, /**< with what is fused into it: bias, GELU, residual */
  SYZ_PROFILE_ATTENTION,
  SYZ_PROFILE_NORM,
  SYZ_PROFILE_ELEMENTWISE,
  SYZ_PROFILE_POOLING,
  SYZ_PROFILE_PACKING, /**< weights into the engine's format */
  SYZ_PROFILE_OPTIMISER,
  SYZ_PROFILE_KINDS
} syz_profile_kind;
/** All calls of one kind and size. bytes: each operand read or written once, as if nothing stayed in cache. */
typedef struct syz_profile_row {
  char name[64]; /**< "forward 3072 x 1024" */
  syz_profile_kind kind;
  int64_t calls;
  double seconds, flops, bytes;
} syz_profile_row;
enum { SYZ_PROFILE_ROWS = 128 };
/** Forget what there is and begin; end. One profile a process, main thread only. Off, a layer pays for one comparison.
 */
void syz_profile_start(void);
void syz_profile_stop(void);
/** Rows in order of their first call; borrowed. */
int syz_profile_rows(const syz_profile_row **row);
/** Around a layer's work: start = syz_profile_begin(); ...; syz_profile_end(start, ...). what: a literal; a x b: the
 * size that makes a row of its own (b 0: a alone). */
double syz_profile_begin(void);
void syz_profile_end(double start, syz_profile_kind kind, const char *what, int64_t a, int64_t b, double flops,
                     double bytes);
