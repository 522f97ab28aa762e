/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * report: a run as one HTML page that needs nothing else: curves of training, figures of retrieval, a gallery of
 * objects and their neighbours, maps of patches, where the time went, and where everything comes from. A part that
 * cannot be found is said to be missing.
 */
#pragma once

#include "syzygy/comm.h"

/** What is shown. Texts and lists are borrowed. */
typedef struct syz_report_options {
  const char *run;    /**< folder of the run that is shown */
  const char *folder; /**< where report.html goes; made if needed */
  syz_texts
      embeddings; /**< embedding files or folders; none: those of the run, or beside it those made with its model */
  syz_texts neighbours_files; /**< neighbours files or folders; none: those of the run, or beside it those of its
                                 embeddings */
  syz_texts data;             /**< the data set; none: as the embedding files name it */
  int objects;                /**< in the gallery */
  int neighbours;             /**< of each object and direction in the gallery */
  bool only_finds;            /**< tell what was found, write nothing */
} syz_report_options;

/**
 * Find what belongs to the run and write <folder>/report.html on rank 0. SYZ_ERR_INPUT without such a run folder,
 * SYZ_ERR_DATA when a file that was named cannot be read. Collective; agreed.
 */
syz_status syz_report_write(const syz_run *run, const syz_report_options *options);
