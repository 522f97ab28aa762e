/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * nn: the numerical core of training. Matrix products on several engines, transformer layers forward and backward,
 * optimiser, schedules. Nothing here knows of galaxies.
 *
 * Precision: in bfloat16 the activations that enter a product are bfloat16 and products accumulate in float32; the
 * residual stream, its gradient, statistics, weight gradients, master weights and moments are always float32. `act`
 * stands for the activation type of the compute context: syz_bf16 or float. Nothing here is collective, except blocks
 * of a tensor group and syz_compute_choose, and nothing allocates after creation. "workspace" is scratch memory that
 * the caller plans (bytes from the matching *_bytes function, 64-byte aligned). Where noted, the result of a row does
 * not depend on how many rows are in the call: therefore 1 and 8 ranks agree.
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
  SYZ_ENGINE_NATIVE,    /**< own kernels with packed weights, for AVX-512 and for NEON */
} syz_engine;

/** Engine, activation type and number of threads. Created once; every layer borrows it. */
typedef struct syz_compute syz_compute;

/** `act` SYZ_BF16 needs AVX-512 (on Arm BF16 and I8MM) and an engine with this type (own kernels or oneDNN); otherwise
 * the context uses float32 with a warning, and syz_compute_act returns SYZ_F32. AUTO: own kernels, else oneDNN for
 * bfloat16 and BLIS for float32, until syz_compute_choose measures. Sets the thread counts of OpenMP, BLIS and oneDNN,
 * and BLIS's kernels: call it before any other product. Layers and products of one context share scratch memory, so
 * that calls must not overlap. SYZ_ERR_INPUT when the engine named is not available. */
syz_status syz_compute_create(syz_dtype act, syz_engine engine, int threads, syz_compute **out);
/** The choices of the user. */
typedef struct syz_compute_options {
  syz_dtype act; /**< inputs of products */
  syz_engine engine;
  int threads;
  bool wants_int8; /**< products in 8-bit integers where that is allowed, in `act` elsewhere */
} syz_compute_options;
/** Choose BLIS's kernels by CPUID (BLIS 0.9 does not know new processors), unless the user has set BLIS_ARCH_TYPE. For
 * programs that use BLAS or ScaLAPACK without a compute context, before their first such call. */
void syz_blis_choose_kernels(void);
void syz_compute_destroy(syz_compute **c);
syz_dtype syz_compute_act(const syz_compute *c);
int syz_compute_threads(const syz_compute *c);
/** "own kernels avx512_bf16, bfloat16, 1 thread" for the banner. Borrowed. */
const char *syz_compute_describe(const syz_compute *c);
/** "own kernels avx512_bf16": what decides the bits of results; checkpoints record it. Borrowed. */
const char *syz_compute_name(const syz_compute *c);
/** "measured: amx 1250, oneDNN 870 GFLOP/s", or "" where nothing had to be measured. Borrowed. */
const char *syz_compute_measured(const syz_compute *c);
/** Log in one line what computes and what was measured. */
void syz_compute_tell(const syz_compute *c);

/** Size of a linear layer of a model: y [rows, out] from x [rows, in]. */
typedef struct syz_layer_size {
  int64_t rows, out, in;
} syz_layer_size;
/** For a context made with AUTO or NATIVE: measure these layers (with `trains` also the weight gradients) and use the
 * fastest engine, or own kernels, that all ranks can run; float32 when a rank lacks bfloat16. `earlier`:
 * syz_compute_name of an earlier run, used without measuring where possible; "": none. Takes a few tens of
 * milliseconds, or none with small layers or one engine. Collective; agreed; before any layer is made. */
syz_status syz_compute_choose(syz_comm *world, syz_compute *c, const syz_layer_size *size, int n, bool trains,
                              const char *earlier);

/* --------------------------------------------------------- matrix product */

/** `batch` products C[m,n] = op(A) op(B) (+ C when accumulate) (+ bias[n]) (then GELU), row-major. */
typedef struct syz_gemm_shape {
  int64_t m, n, k;
  bool transpose_a, transpose_b; /**< A stored [k,m], B stored [n,k] */
  int64_t lda, ldb, ldc;         /**< elements between rows as stored; 0 = dense */
  int64_t batch;                 /**< >= 1 */
  int64_t stride_a, stride_b, stride_c;
  syz_dtype type_ab, type_c;
  bool accumulate; /**< type_c must be SYZ_F32 */
  bool has_bias, has_gelu;
  bool keeps_b; /**< for layers of this room (src/nn/engine.h): B is set once for many runs; batch 1 */
} syz_gemm_shape;

/** A product prepared for one shape. Creating takes milliseconds and may allocate; running does not allocate. */
typedef struct syz_gemm syz_gemm;
syz_status syz_gemm_create(const syz_compute *c, const syz_gemm_shape *shape, syz_gemm **out);
void syz_gemm_destroy(syz_gemm **g);
/** bias: float32 [n] or NULL as the shape says. A row of C does not depend on m (same k, n, engine). */
void syz_gemm_run(const syz_gemm *g, const void *a, const void *b, const float *bias, void *c);

/** Best matrix-product rate of one thread, in FLOP/s: the largest of several shapes and all engines that have the
 * context's type, best of repeated runs within about `seconds`. *by (may be NULL): whose rate it is, "amx". */
double syz_gemm_limit(const syz_compute *c, double seconds, const char **by);
/** Rate of the tiles (AMX) of one thread in bfloat16, without loads, in FLOP/s; 0 without tiles. */
double syz_tile_limit(double seconds);

/* ----------------------------------------------------------------- linear */

/** y = x W^T + b. The caller keeps the float32 weights W [out, in], the layer keeps packed copies of them. */
typedef struct syz_linear syz_linear;

typedef enum syz_epilogue {
  SYZ_EPILOGUE_NONE,     /**< y act */
  SYZ_EPILOGUE_F32,      /**< y float32 */
  SYZ_EPILOGUE_RESIDUAL, /**< y float32, y += scale v, v = x W^T + b; v [rows, out] act is stored too when u != NULL */
  SYZ_EPILOGUE_GELU,     /**< y act = gelu(u), u = x W^T + b; u [rows, out] act is stored too when u != NULL */
} syz_epilogue;

/** `max_rows`: most rows per call; `trains` also prepares the backward products. */
syz_status syz_linear_create(const syz_compute *c, int64_t out, int64_t in, int64_t max_rows, bool trains,
                             syz_linear **l);
void syz_linear_destroy(syz_linear **l);
/** Copy new weights, once per step. bias, scale [out] may be NULL; only the residual epilogue uses the scale. */
void syz_linear_pack(syz_linear *l, const float *weight, const float *bias, const float *scale);
/** x [rows, in] act -> y [rows, out]. A row has the same bits for any number of rows. u: see syz_epilogue. */
void syz_linear_forward(const syz_linear *l, int64_t rows, const void *x, syz_epilogue epilogue, void *y, void *u);
/*
 * The forward product in 8-bit integers, for inference only: weights have one scale per output, activations one scale
 * and zero point per row of a call. Sums are exact; bias, GELU and residual are in float32, inputs and outputs of type
 * act.
 */
/** Whether this processor has the instructions (AVX512_VNNI; on Arm I8MM). */
bool syz_compute_has_int8(const syz_compute *c);
/** The same for a context with activations `act` that is not made yet. */
bool syz_has_int8(syz_dtype act);
/** Make the int8 form of `weight`, beside the one of syz_linear_pack; it is not used yet. most [in], the largest |x| of
 * each input as syz_linear_observe recorded it, moves the range of outlying inputs into the weights (Xiao et al. 2022,
 * arXiv:2211.10438): input j is divided and its weights are multiplied by sqrt(most_j / largest |w_j|); NULL: nothing
 * is moved. SYZ_ERR_INPUT without the instructions or for in > 66000, SYZ_ERR_MEMORY. */
syz_status syz_linear_quantise(syz_linear *l, const float *weight, const float *most);
/** Which form later forward calls use. */
void syz_linear_use_int8(syz_linear *l, bool is_int8);
/** Free the form of the weights that is not in use. Afterwards the layer cannot be packed or switched. */
void syz_linear_settle(syz_linear *l);
/** Record the largest |x| of each input in most [in] on later forward calls; NULL: stop. Not thread-safe. */
void syz_linear_observe(syz_linear *l, float *most);
/** dx [rows, in] act (written; may be NULL) from dy [rows, out] act. */
void syz_linear_backward_input(const syz_linear *l, int64_t rows, const void *dy, void *dx);
/** dweight [out, in] += dy^T x, dbias [out] += column sums of dy (may be NULL). float32. dy is the gradient before any
 * scale. */
void syz_linear_backward_weight(const syz_linear *l, int64_t rows, const void *dy, const void *x, float *dweight,
                                float *dbias);

/* ------------------------------------------------------------------- pairs */

/**
 * Products between all rows of x [m, width] and of y [n, width], act, as contrastive losses need them: c = x y^T tile
 * by tile, never whole; and, with a weight w for every pair, dx += w y and dy += w^T x. Operations: 2 m n width
 * forward, three times as many backward.
 *
 * Rows are `stride` elements apart (syz_pairs_stride: the width, in bfloat16 rounded up to even), and elements after
 * the width are zero; x and y are 4-byte aligned. dx [m, width], dy [n, width] float32. An element of c does not depend
 * on its tile.
 */
typedef struct syz_pairs syz_pairs;
enum { SYZ_PAIRS_ROWS = 96, SYZ_PAIRS_COLUMNS = 256 };
/** Rows [row, row + rows) of x and rows [column, column + columns) of y; both begin at multiples of these. */
typedef struct syz_pairs_tile {
  int64_t row, rows, column, columns;
  const float *c; /**< rows are SYZ_PAIRS_COLUMNS elements apart */
  void *w;        /**< backward only: weights act, rows ldw elements apart, all to be written */
  int64_t ldw;
} syz_pairs_tile;
/** What the caller does with a tile. Several threads call it at once, in no fixed order. */
typedef void (*syz_pairs_use)(void *context, const syz_pairs_tile *tile);

int64_t syz_pairs_stride(const syz_compute *c, int64_t width);
/** max_m, max_n: most rows of x and y per call; `trains`: prepare the backward products too. */
syz_status syz_pairs_create(const syz_compute *c, int64_t width, int64_t max_m, int64_t max_n, bool trains,
                            syz_pairs **out);
void syz_pairs_destroy(syz_pairs **p);
size_t syz_pairs_bytes(const syz_compute *c, int64_t width, int64_t max_m, int64_t max_n, bool trains);
/** Set the y of the calls that follow; copied. */
void syz_pairs_take(syz_pairs *p, int64_t n, const void *y);
/** The same in pieces, in order, without `trains`: y holds rows [first, first + n) alone, and the calls that follow use
 * the last piece. All pieces but the last have a multiple of 64 rows. */
void syz_pairs_take_piece(syz_pairs *p, int64_t first, int64_t n, const void *y);
void syz_pairs_product(syz_pairs *p, int64_t m, const void *x, syz_pairs_use use, void *context);
void syz_pairs_backward(syz_pairs *p, int64_t m, const void *x, syz_pairs_use use, void *context, float *dx, float *dy);

/* ---------------------------------------------------------- layernorm, GELU */

/** y act or float32 (`type_y`) [rows, width] = gain (x - mean) rstd + bias, x float32; mean, rstd may be NULL. */
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

/** Pre-norm block: x += ls1 proj(attention(norm1 x)); x += ls2 fc2(gelu(fc1(norm2 x))). Self-attention: softmax(q k^T /
 * sqrt(Dh)) v. */
typedef struct syz_block_config {
  int64_t dim, heads, hidden; /**< hidden = 4 dim in both towers */
  float eps;
  bool has_layerscale;
  float branch_scale; /**< both branches are multiplied by it; 0 stands for 1 */
  syz_comm *tensor;   /**< ranks that compute the block together; borrowed; NULL or one rank: alone */
  int planned_ranks;  /**< without a group, > 1: only to find the bytes of one of so many ranks */
} syz_block_config;

/** Addresses of one block's parameters (or of their gradients) in the caller's flat array. */
typedef struct syz_block_parameters {
  float *norm1_gain, *norm1_bias;       /* [D] */
  float *qkv_weight, *qkv_bias;         /* [3D, D], [3D] */
  float *proj_weight, *proj_bias, *ls1; /* [D, D], [D], [D] or NULL */
  float *norm2_gain, *norm2_bias;       /* [D] */
  float *fc1_weight, *fc1_bias;         /* [4D, D], [4D] */
  float *fc2_weight, *fc2_bias, *ls2;   /* [D, 4D], [D], [D] or NULL */
} syz_block_parameters;

/** Sequences of a few lengths in one array of rows: group g has count[g] sequences of tokens[g] rows each; the groups
 * follow one another. The linear layers and norms of a block run over all rows at once, attention over each sequence.
 */
enum { SYZ_GROUPS_MAX = 8 };
typedef struct syz_sequences {
  int groups;
  int64_t count[SYZ_GROUPS_MAX], tokens[SYZ_GROUPS_MAX];
} syz_sequences;
int64_t syz_sequences_rows(const syz_sequences *s);

/** The sequences of each group that a branch computes, ascending; the others skip it unchanged (stochastic depth). */
typedef struct syz_subset {
  const int64_t *kept[SYZ_GROUPS_MAX]; /**< [n[g]] numbers within the group */
  int64_t n[SYZ_GROUPS_MAX];
} syz_subset;

typedef struct syz_block syz_block;
/**
 * `most`: the largest count of each group in a call. With stochastic depth branch_scale is 1 / (1 - rate).
 *
 * In a tensor group of t ranks (src/nn/block_tensor.c) each rank has sequences of its own and computes a share of the
 * heads and hidden columns. Forward and backward are collective over the group, in the same order on all its ranks,
 * also for a rank without sequences. Parameters and gradients keep their full layout on every rank; a rank reads and
 * adds to its share of them, and the sum of all ranks' gradients is the whole gradient. `most`, `kept`, and the groups
 * and tokens of a call must be the same on all ranks of the group; counts and subsets may differ. SYZ_ERR_INPUT when t
 * does not divide heads and hidden. Creating is not collective.
 */
syz_status syz_block_create(const syz_compute *c, const syz_block_config *config, const syz_sequences *most,
                            bool trains, syz_block **out);
void syz_block_destroy(syz_block **b);
/** Bytes that a rank of a tensor group sends, and receives, per row of its own in one block, for `forwards` forward
 * passes and a backward one. */
double syz_block_exchange_bytes(int64_t dim, int ranks, syz_dtype act, double forwards);
void syz_block_pack(syz_block *b, const syz_block_parameters *weights);
/** The products of a block, to give them an int8 form; syz_block_linear is borrowed. */
typedef enum syz_block_product {
  SYZ_BLOCK_QKV,
  SYZ_BLOCK_PROJ,
  SYZ_BLOCK_FC1,
  SYZ_BLOCK_FC2,
  SYZ_BLOCK_PRODUCTS
} syz_block_product;
syz_linear *syz_block_linear(syz_block *b, syz_block_product which);
/** Bytes of activations kept for the backward pass when each branch computes at most the sequences `kept`, and of the
 * scratch that all blocks share. */
size_t syz_block_saved_bytes(const syz_block *b, const syz_sequences *kept);
size_t syz_block_workspace_bytes(const syz_block *b, const syz_sequences *kept);
/** x [rows, D] float32 in place. subset[2]: for the attention and the MLP branch; NULL: all. saved NULL: inference;
 * workspace is always needed. Work and memory grow with the rows kept. No row depends on other sequences. */
void syz_block_forward(const syz_block *b, const syz_sequences *s, const syz_subset *subset, float *x, void *saved,
                       void *workspace);
/** dx [rows, D] float32 in place; gradients +=. Sequences and subsets as in the forward call. */
void syz_block_backward(const syz_block *b, const syz_sequences *s, const syz_subset *subset, float *dx,
                        const void *saved, const syz_block_parameters *gradients, void *workspace);

/* ------------------------------------------------------------- small layers */

/** y = x / max(|x|, eps) per row, float32; norm [rows] is kept. */
void syz_l2norm_forward(float *y, float *norm, const float *x, float eps, int64_t rows, int64_t width);
void syz_l2norm_backward(float *dx, const float *dy, const float *y, const float *norm, float eps, int64_t rows,
                         int64_t width);
/** Counter-based dropout, in place: element d of row r is kept with probability 1 - p, scaled by 1 / (1 - p); this
 * depends only on (seed, purpose DROPOUT, step, sample[r], layer, d). Backward: the same call on the gradient. */
void syz_dropout(float *x, float p, uint64_t seed, uint64_t step, const int64_t *sample, uint32_t layer, int64_t rows,
                 int64_t width);

/* --------------------------------------------------------------- optimiser */

typedef struct syz_adamw {
  double lr, beta1, beta2, eps, weight_decay;
} syz_adamw;
/** One AdamW step (Loshchilov & Hutter 2019, arXiv:1711.05101; PyTorch's form): w -= lr wd w; m, v updated with g *
 * gradient_scale; w -= lr m^ / (sqrt(v^) + eps). step counts from 1. Equal for any partition of n. */
void syz_adamw_update(const syz_adamw *o, int64_t step, double gradient_scale, float *w, float *m, float *v,
                      const float *g, int64_t n, int threads);
/** The same bits on one thread, not profiled, with syz_sum_of_bits of w, m, v, g before the update and w, m, v after
 * it. */
void syz_adamw_update_summed(const syz_adamw *o, int64_t step, double gradient_scale, float *w, float *m, float *v,
                             const float *g, int64_t n, uint64_t before[4], uint64_t after[3]);
/** Sum of squares in float64, over fixed blocks in block order: does not depend on the thread count. */
double syz_sum_of_squares(const float *x, int64_t n, int threads);
/** Step s = 0, 1, ... of the warm-up has lr s / warmup_steps; then half a cosine leads from lr to lr_min at `steps`. */
double syz_schedule_lr(int64_t step, double lr, double lr_min, int64_t warmup_steps, int64_t steps);
/** Half a cosine from `start` at step 0 to `end` at `steps` and later: weight decay, momentum of a moving average. */
double syz_schedule_cosine(int64_t step, double start, double end, int64_t steps);
/** Linear from `start` to `end` over `ramp_steps`, then `end`: the teacher's temperature. */
double syz_schedule_ramp(int64_t step, double start, double end, int64_t ramp_steps);

/** Convert arrays between types. */
void syz_convert_to_act(syz_dtype type, void *y, const float *x, int64_t n);
void syz_convert_to_f32(syz_dtype type, float *y, const void *x, int64_t n);

/* ------------------------------------------------------------------ profile */

/** Kinds of work whose time the profile counts. */
typedef enum syz_profile_kind {
  SYZ_PROFILE_PRODUCT, /**< with bias, GELU and residual fused into it */
  SYZ_PROFILE_ATTENTION,
  SYZ_PROFILE_NORM,
  SYZ_PROFILE_ELEMENTWISE,
  SYZ_PROFILE_POOLING,
  SYZ_PROFILE_PACKING, /**< weights into the engine's format */
  SYZ_PROFILE_OPTIMISER,
  SYZ_PROFILE_KINDS
} syz_profile_kind;
/** All calls of one kind and size. bytes: each operand is read or written once, as if nothing stayed in cache. */
typedef struct syz_profile_row {
  char name[64]; /**< "forward 3072 x 1024" */
  syz_profile_kind kind;
  int64_t calls;
  double seconds, flops, bytes;
} syz_profile_row;
enum { SYZ_PROFILE_ROWS = 128 };
/** Begin a new profile, and end it. One profile per process, main thread only. When off, it costs a layer one
 * comparison.
 */
void syz_profile_start(void);
void syz_profile_stop(void);
/** Rows in order of their first call; borrowed. */
int syz_profile_rows(const syz_profile_row **row);
/** Around the work of a layer: start = syz_profile_begin(); ...; syz_profile_end(start, ...). what: a literal; each
 * size a x b (b 0: a) has its own row. */
double syz_profile_begin(void);
void syz_profile_end(double start, syz_profile_kind kind, const char *what, int64_t a, int64_t b, double flops,
                     double bytes);
