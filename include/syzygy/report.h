/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * report: shows a run as one self-contained HTML page: training curves, figures of retrieval, a gallery of objects and
 * their neighbours, maps of patches, a table of times, provenance. The page says which parts are missing.
 */
#pragma once

#include "syzygy/comm.h"

/** What to show. Texts and lists are borrowed. */
typedef struct syz_report_options {
  const char *run;      /**< folder of the run to show */
  const char *folder;   /**< folder of report.html; created if needed */
  syz_texts embeddings; /**< embedding files or folders; empty: those of the run, or of neighbouring folders made with
                           its model */
  syz_texts neighbours_files; /**< neighbours files or folders; empty: those of the run, or of neighbouring folders for
                                 its embeddings */
  syz_texts data;             /**< the data set; empty: the one that the embedding files name */
  int objects;                /**< objects in the gallery */
  int neighbours;             /**< neighbours per object and direction in the gallery */
  bool only_finds;            /**< log what was found, write nothing */
} syz_report_options;

/**
 * Find the files of the run and write <folder>/report.html on rank 0. SYZ_ERR_INPUT without such a run folder,
 * SYZ_ERR_DATA when a file that was named cannot be read. Collective; agreed.
 */
syz_status syz_report_write(const syz_run *run, const syz_report_options *options);
