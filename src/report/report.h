/* SPDX-License-Identifier: BSD-3-Clause */
/** Text of the page, charts, stamps, spectra, sections; private to this room. All of it runs on rank 0 only. */
#pragma once

#include <limits.h>

#include "syzygy/data.h"
#include "syzygy/model.h"
#include "syzygy/report.h"

/* ------------------------------------------------------------------ page */

/** A growing text. When memory runs out it stops growing and sets `has_failed`, which is checked once, at the end. */
typedef struct syz_page {
  char *text;
  size_t n, room;
  bool has_failed;
} syz_page;
void syz_page_put(syz_page *p, const char *text);
void syz_page_bytes(syz_page *p, const char *text, size_t n);
void syz_page_printf(syz_page *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Text from outside: &, <, > and quotes escaped, control characters and broken UTF-8 replaced. */
void syz_page_escape(syz_page *p, const char *text);
/** Head with styles, up to <main>; and the end. */
void syz_page_begin(syz_page *p, const char *title);
void syz_page_end(syz_page *p);
void syz_page_free(syz_page *p);
/** A section ends where the next begins, or at syz_page_end. id: its anchor. */
void syz_page_section(syz_page *p, const char *id, const char *title);
/** The introduction below the heading of a section: HTML. */
void syz_page_lead(syz_page *p, const char *lead);
/** A box about a missing part. printf-like; the text is escaped. */
void syz_page_missing(syz_page *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** A number as short text: 3 to 4 significant digits, thousands separated. */
const char *syz_page_number(double value, char text[32]);

/* ---------------------------------------------------------------- charts */

/** SYZ_LINE_POINTS: a small point each, or the density of the points where there are many. */
typedef enum syz_line_style {
  SYZ_LINE_SOLID,
  SYZ_LINE_FAINT,
  SYZ_LINE_DASHED,
  SYZ_LINE_DOTS,
  SYZ_LINE_POINTS
} syz_line_style;
typedef struct syz_series {
  const char *name; /**< in the legend; NULL: no entry */
  int colour;       /**< 0 .. 3 */
  syz_line_style style;
  int64_t n;
  const double *x, *y; /**< [n]; NaN: a gap */
} syz_series;
/** Vertical stretches from `low` to `high`: an area along x, an error bar at each x, or the bars of a histogram, whose
 * bins are around x at equal distances. */
typedef enum syz_band_kind { SYZ_BAND_AREA, SYZ_BAND_ERRORS, SYZ_BAND_BARS } syz_band_kind;
typedef struct syz_band {
  const char *name; /**< in the legend; NULL: no entry */
  int colour;       /**< 0 .. 3 */
  syz_band_kind kind;
  int64_t n;
  const double *x, *low, *high; /**< [n]; NaN: a gap */
} syz_band;
typedef struct syz_chart {
  const char *title, *x_label, *y_label; /**< with units; plain text */
  bool is_log_x, is_log_y;
  bool has_x_ticks_at_points; /**< ticks where the first series has its points, instead of round numbers */
  int n_series;
  const syz_series *series;
  int n_bands;
  const syz_band *band; /**< below the series */
} syz_chart;
/** An inline SVG with axes, ticks, legend; or a note when there is nothing to draw. */
void syz_page_chart(syz_page *p, const syz_chart *c);

/** Round ticks that cover [low, high]: at most `room`; returns their number. */
int syz_chart_ticks(double low, double high, int wanted, double *tick, int room);

/* ---------------------------------------------------------------- pixels */

/** <img> of g, r, z [3,152,152] nanomaggy as a PNG inside the page: colour mapping of the Legacy Survey viewer, north
 * up, east left. SYZ_ERR_MEMORY.
 */
syz_status syz_page_stamp(syz_page *p, const float *image, const char *alt, const char *css);
/** The same pixels as PNG bytes [*n] (syz_free). */
syz_status syz_stamp_png(const float *image, unsigned char **png, size_t *n);
/** Bytes as base64 text, for data: addresses. */
void syz_page_base64(syz_page *p, const unsigned char *data, size_t n);
/** Inline SVG of a spectrum, flux [7781], ivar [7781] or NULL: smoothed; lines marked when the redshift is finite.
 * `is_large`: with axes and names.
 */
void syz_page_spectrum(syz_page *p, const float *flux, const float *ivar, double redshift, bool is_large,
                       const char *alt);
/** A spectrum of which runs were hidden from a network: [7781] each, in flux units; NaN where there is nothing to draw.
 */
typedef struct syz_hidden_spectrum {
  const float *flux, *ivar; /**< ivar NULL: all pixels count the same */
  const unsigned char *hidden;
  const float *reconstruction, *interpolation;
  double redshift; /**< NaN: no lines are marked */
} syz_hidden_spectrum;
/** Inline SVG: the hidden runs shaded, the spectrum, its reconstruction by the network and by linear interpolation;
 * with axes. */
void syz_page_hidden_spectrum(syz_page *p, const syz_hidden_spectrum *s, const char *alt);

/* --------------------------------------------------------------- metrics */

enum { SYZ_METRICS_COLUMNS = 64, SYZ_METRICS_NAME = 48 };
/** Numbers of a .jsonl file by name, one row per line. */
typedef struct syz_metrics {
  int64_t n;
  int columns;
  char name[SYZ_METRICS_COLUMNS][SYZ_METRICS_NAME];
  double *value[SYZ_METRICS_COLUMNS]; /**< [n], NaN where a line has none */
  int64_t broken;                     /**< lines that are not JSON and are ignored */
} syz_metrics;
/** n = 0 without such a file. SYZ_ERR_DATA, SYZ_ERR_MEMORY. */
syz_status syz_metrics_read(const char *folder, const char *file, syz_metrics *t);
void syz_metrics_free(syz_metrics *t);
/** [n], or NULL. */
const double *syz_metrics_column(const syz_metrics *t, const char *name);
/** Exponential mean [n] with a memory of about 2 % of the run. */
void syz_metrics_smooth(const double *y, int64_t n, double *out);

/* --------------------------------------------------------------- sources */

enum { SYZ_SECTIONS_MAX = 16 };
/** A result of analyse or of a probe. */
typedef struct syz_report_result {
  const char *file;      /**< "patches.h5", "probe.json": HDF5 or JSON that names its `model_file`; NULL: none */
  const char *task;      /**< of a probe.json: it counts only with this task; NULL: it has none */
  char folder[PATH_MAX]; /**< where it is; "": not found */
} syz_report_result;

/** The folders and files of the parts of the page; an empty text: not found. */
typedef struct syz_report_sources {
  char run[PATH_MAX];                         /**< the run folder asked for */
  char training[PATH_MAX];                    /**< folder with metrics.jsonl */
  char search[PATH_MAX];                      /**< folder with retrieval.json */
  syz_report_result result[SYZ_SECTIONS_MAX]; /**< [n_results] of each section the one that it shows */
  int n_results;
  int n_embeddings, n_neighbours, n_data, n_folders;
  char **embedding, **neighbours, **data; /**< files; data: paths as the embedding file gives them */
  char **folder;                          /**< all folders used, for timing and provenance */
} syz_report_sources;
/** Find all of them. On entry `s` is zero except for the files of its results. */
syz_status syz_report_find(const syz_report_options *o, syz_report_sources *s);
void syz_report_sources_free(syz_report_sources *s);

/* -------------------------------------------------------------- sections */

/** Figures for the summary at the top, NaN where unknown. */
typedef struct syz_report_figures {
  double steps, loss, recall10[2], chance10, r2[2], objects;
  char label[64];
  bool is_pretraining;       /**< of one tower: no pairs to retrieve */
  double knn, start, pixels; /**< first figure of the nearest-neighbour judge at the end, and its baselines */
  char knn_label[64];
  double iou, iou_untrained;
} syz_report_figures;

/** The inputs of a section. */
typedef struct syz_report_job {
  const syz_report_options *options;
  const syz_report_sources *sources;
  syz_comm *self;              /**< this rank alone, for data sets */
  syz_report_figures *figures; /**< filled in by the sections */
  const char *folder;          /**< of the section's result; "": it has none */
} syz_report_job;

/** A section of the page. */
typedef struct syz_report_section {
  const char *anchor, *link; /**< id of its heading; its name among the links at the top */
  const char *title, *lead;  /**< heading, and the text below it; NULL: `write` begins with syz_page_lead */
  /** File of the result that it shows, in the run folder or a sibling folder, and its name in the log; NULL: none.
   * Without that file there is no section. */
  const char *result, *result_name;
  const char *task; /**< of a probe.json, several of which have sections: the task that this one shows; NULL: none */
  /** Whether there is something to show. Called after the earlier sections are written. NULL: always; the section then
   * names what is missing. */
  bool (*has)(const syz_report_job *j);
  /** SYZ_ERR_MEMORY; the page names what cannot be read. */
  syz_status (*write)(syz_page *p, const syz_report_job *j);
} syz_report_section;

/** In the order of the page: the table is in report.c. */
extern const syz_report_section syz_section_training, syz_section_reconstruction, syz_section_patches,
    syz_section_dense, syz_section_probe, syz_section_retrieval, syz_section_gallery, syz_section_timing,
    syz_section_provenance;

/** What the probe.json of a folder is of: "dense" or "embeddings". If it cannot be read, the file beside it decides. */
const char *syz_report_probe_task(const char *folder);
/** Whether the probe.json of a folder is of embeddings that the model with this digest made. */
bool syz_report_probe_reads(const char *folder, const char *model_digest);

/** Whether pairs are expected; the page of one tower's training has none and need not mention it twice. */
bool syz_report_has_pairs(const syz_report_job *j);
/** Cards for the curves that only pretraining has: every term of the loss, guards against collapse, schedules, figures
 * on held-out objects. False, and nothing, for other runs. */
bool syz_report_is_pretraining(const syz_metrics *m);
syz_status syz_report_pretraining(syz_page *p, const syz_metrics *m, const syz_metrics *v, syz_report_figures *f);
