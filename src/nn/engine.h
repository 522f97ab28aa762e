/* SPDX-License-Identifier: BSD-3-Clause */
/** Common to the files of the matrix engines; private to this room. An engine is one table of functions in one file. */
#pragma once

#include "syzygy/nn.h"

/** One matrix engine. It defines its own plans; only `create` may fail or allocate. */
typedef struct syz_engine_ops {
  const char *name;
  /** Whether this processor and build can run products of this type. */
  bool (*can)(syz_dtype type_ab);
  /** Set the thread count; called once, before any plan is made. */
  void (*set_threads)(int threads);
  syz_status (*create)(const syz_compute *c, const syz_gemm_shape *shape, void **plan);
  void (*destroy)(void **plan);
  /** Pack B, for shapes that keep it; NULL: the engine reads B in place. `run` gets B again. */
  void (*take)(void *plan, const void *b);
  /** The product of the first m rows, for the whole batch. */
  void (*run)(const void *plan, int64_t m, const void *a, const void *b, const float *bias, void *c);
  /** Name, version and kernels in a few words, for the banner. */
  void (*describe)(syz_dtype type_ab, char *text, size_t n);
} syz_engine_ops;

extern const syz_engine_ops syz_engine_reference, syz_engine_blis, syz_engine_onednn, syz_engine_native;

/** Memory that all layers of a compute context use in turn; grown while layers are created, never in a step. */
typedef struct syz_scratch {
  void *bytes;
  size_t size;
} syz_scratch;

struct syz_compute {
  syz_dtype act;
  int threads;
  const syz_engine_ops *engine[2];    /**< by type of A and B; NULL: no engine here has that type */
  const struct syz_kernel *kernel[2]; /**< the own kernel for each type; NULL: there is none */
  syz_scratch *scratch;               /**< of layers, in turn */
  syz_scratch *products;              /**< of the own kernels, within one product: kernel.c */
  syz_dtype asked;                    /**< act is float32 where bfloat16 is not possible */
  syz_engine wish;
  char name[96];  /**< of engine and kernels, always the same text for the same ones */
  char text[192]; /**< with type and threads */
  char measured[192];
};

/** One way to compute products of a type: an engine, and its kernel if it is one of our own. */
typedef struct syz_candidate {
  syz_dtype type;
  const syz_engine_ops *engine;
  const struct syz_kernel *kernel; /**< NULL: the engine is a library */
} syz_candidate;

/** All candidates of both types, in the order of choice without measurements. */
#ifdef __x86_64__
enum { SYZ_CANDIDATES = 7 };
#else
enum { SYZ_CANDIDATES = 5 };
#endif
extern const syz_candidate syz_candidate_table[SYZ_CANDIDATES];
/** Whether this processor and build can run it. */
bool syz_candidate_can(const syz_candidate *x);
/** "amx", "oneDNN". */
const char *syz_candidate_name(const syz_candidate *x);
/** "own kernels amx", "oneDNN 2.6.3 avx512_core_amx". */
void syz_candidate_text(const syz_candidate *x, char *text, size_t n);
/** Makes it compute the products of its type; call before any layer is made. */
void syz_compute_use(syz_compute *c, const syz_candidate *x);
/** Threads of OpenMP and of all engines. */
void syz_compute_set_threads(int threads);

/** Make the shared scratch at least `bytes` large. Earlier pointers become invalid. */
syz_status syz_compute_reserve(const syz_compute *c, size_t bytes);
/** The same for the scratch of the own kernels. */
syz_status syz_compute_reserve_products(const syz_compute *c, size_t bytes);

/** The shape with every 0 replaced by what it stands for, checked. */
syz_status syz_gemm_shape_resolve(const syz_gemm_shape *shape, syz_gemm_shape *out);

/** Set the B of the runs that follow, whose b is NULL, for a shape with keeps_b; an engine may bring it into a form of
 * its own. Borrowed, and must not change. */
void syz_gemm_take(syz_gemm *g, const void *b);
/** The first m rows alone. */
void syz_gemm_run_rows(const syz_gemm *g, int64_t m, const void *a, const void *b, const float *bias, void *c);

/** Fill memory with ordinary numbers, in either type; whole words. */
void syz_fill_ordinary(void *bytes, size_t n);

/** CPU seconds of this thread, which other processes on a shared machine do not disturb. */
double syz_thread_seconds(void);
