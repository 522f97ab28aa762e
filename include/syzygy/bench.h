/* SPDX-License-Identifier: BSD-3-Clause */
/** bench: measures the speed of every part, also as a fraction of this machine's limit, measured in the same run. */
#pragma once

#include "syzygy/data.h"
#include "syzygy/h5.h"
#include "syzygy/model.h"

/** What to measure. Texts and lists are borrowed. */
typedef struct syz_bench_options {
  syz_texts parts; /**< any of product, towers, optimiser, allreduce, io, pretrain, infonce, match */
  uint64_t seed;
  int64_t batch;           /**< objects per rank in a tower's batch */
  int repeats;             /**< repeats of each part, after one that does not count; at most 1000 */
  bool profiles;           /**< towers: also the time per kind of layer */
  double limit_s;          /**< seconds for each measurement of the limit of matrix products */
  syz_model_config config; /**< of the towers, where model_file is "" */
  const char *model_file;
  int64_t pairs;                   /**< infonce: global batch */
  int64_t blocks;                  /**< infonce: only the first round of pieces, with so many blocks; 0: everything */
  bool streams;                    /**< infonce: pass embeddings and gradients in chunks */
  int64_t catalogue_rows, spectra; /**< match */
  int64_t io_bytes;                /**< io: bytes per rank */
  syz_h5_settings io;              /**< io: how files are written; restored afterwards */
  int compression_level;           /**< io: of the compressed files */
} syz_bench_options;

/** SYZ_ERR_INPUT when a part is unknown. Not collective. */
syz_status syz_bench_check(const syz_bench_options *options);
/** Measure the parts in turn, print them, and write <folder>/bench.json on rank 0. `compute` is borrowed. Collective;
 * agreed. */
syz_status syz_bench_run(const syz_run *run, const syz_bench_options *options, const syz_compute *compute);
