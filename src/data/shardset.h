/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: the parts of an open data set. */
#pragma once

#include "set_kept.h"
#include "syzygy/files.h"
#include "syzygy/h5.h"
#include "syzygy/data.h"

enum {
  SET_IMAGE = SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE, /* floats per image */
  SET_PLANE = SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE,
  SET_GROUP = 24,
  SET_SHARED = 1 << 20 /* size from which the ranks of a node share the object table */
};

/** Why an object cannot be used. */
typedef enum pixel_fault {
  PIXELS_GOOD,
  IMAGE_NOT_FINITE,
  IMAGE_ABSURD,
  IMAGE_ZERO,
  FLUX_NOT_FINITE,
  FLUX_ABSURD,
  FLUX_ZERO,
  IVAR_NOT_FINITE,
  IVAR_ABSURD,
  IVAR_NEGATIVE,
  IVAR_ZERO,
  PIXEL_FAULTS
} pixel_fault;
const char *syz_pixel_fault_text(pixel_fault fault);
/** Images [3,152,152]. */
pixel_fault syz_check_image(const float *image);
pixel_fault syz_check_flux(const float *flux);
pixel_fault syz_check_ivar(const float *ivar);

/** Rows of a file that belong together: a shard, or a group of AstroCLIP's file. The same on every rank; it is sent
 * between ranks, so it has no pointers. */
typedef struct set_part {
  int32_t file;
  uint8_t layout; /* its number in the table of set_layout.c */
  uint8_t has_image, has_flux, has_ivar, has_segment, has_position;
  uint8_t has_image_column, has_spectrum_column; /* whether these columns exist */
  char group[SET_GROUP];                         /* "" or "3/" */
  int64_t rows;                                  /* in the file */
  int64_t raw;                                   /* raw number of its first row */
  int64_t image_at, flux_at, ivar_at;            /* file offsets of row 0, -1: read through HDF5 */
} set_part;

typedef struct set_file {
  char *path;
  int64_t bytes;
  uint64_t digest;
  bool lacks_sums,
      lacks_seal; /* a dataset has no checksum; made by this program but without a checksum of the attributes */
  uint64_t labels[(SYZ_LABELS_MAX + 63) / 64]; /* which of the set's labels it has */
} set_file;

/** An object that was skipped. Strings are borrowed from the set. */
typedef struct syz_rejected {
  const char *file; /**< path */
  int64_t row;      /**< in the file; AstroCLIP: in the group named in `reason` */
  int64_t object_id;
  const char *reason;
} syz_rejected;

/** Open descriptors of a reader; one for the main thread, one for each loader thread. */
typedef struct set_reader {
  syz_kept_open kept;
  int fd[SYZ_KEPT_OPEN_MOST]; /* -1: none */
  float *scratch;             /* one image in another axis order */
  syz_direct *lane;           /* for many rows in a row; main thread only */
  int lane_file;              /* its file, or one that has none; -1 at first */
} set_reader;

struct syz_shardset {
  syz_comm *comm;
  set_file *file;
  int files;
  set_part *part;
  int parts;
  int64_t raw_size, size; /* rows of the files, objects of the set */
  set_kept kept;          /* which rows are objects: of the split, usable, with the required modalities */
  syz_object *object;     /* [size], in `table` */
  syz_shared table;
  syz_rejected *rejected;
  int64_t rejects;
  size_t reject_room;
  char **reason; /* [parts * PIXEL_FAULTS], NULL where not needed */
  char (*label)[SYZ_LABEL_NAME];
  const char **label_name;
  int labels;
  uint64_t digest;
  bool has_ivar;
  bool is_verified;             /* its checksums have been verified */
  bool has_content, lacks_sums; /* `content`, of the files without checksums if any, is computed */
  uint64_t content;
  syz_bad_objects bad;
  set_reader reader;
  syz_kept_open kept_h5; /* for what pread cannot read; main thread only */
  syz_h5 *h5[SYZ_KEPT_OPEN_MOST];
};

/** Rank-local: the contents of file `number`. Labels by name through `label`. */
typedef struct set_scan {
  set_part part[16];
  int parts;
  char (*label)[SYZ_LABEL_NAME]; /* [SYZ_LABELS_MAX], allocated by the caller */
  int labels;
  uint64_t digest;
  int64_t bytes;
  bool lacks_sums, lacks_seal; /* as of set_file */
} set_scan;
syz_status syz_shardset_scan(const char *path, int number, set_scan *out);
/** Identifiers, positions, flags of a part's rows. */
syz_status syz_shardset_read_table(syz_h5 *f, const set_part *part, int64_t first, int64_t n, syz_object *object);

/** The part that row `raw` of the set is in. */
const set_part *set_part_at(const syz_shardset *s, int64_t raw);
/** Part and row in the file of object `index`. */
const set_part *syz_shardset_find(const syz_shardset *s, int64_t index, int64_t *row);
void syz_set_reader_begin(set_reader *r);
void syz_set_reader_end(set_reader *r);
/** Whether the loader's thread can read these arrays of this object. */
bool syz_shardset_is_direct(const syz_shardset *s, int64_t index, bool image, bool flux, bool ivar);
/** One object by pread alone (is_direct must hold): thread-safe with a reader of its own. Outputs may be NULL. Checks
 * the pixels. */
syz_status syz_shardset_read_direct(const syz_shardset *s, set_reader *r, int64_t index, float *image, float *flux,
                                    float *ivar);
/** The same by pread or HDF5; main thread only. */
syz_status syz_shardset_read_one(syz_shardset *s, int64_t index, float *image, float *flux, float *ivar);
/** The HDF5 handle of a file, opened when needed; main thread only. */
syz_status syz_shardset_h5(syz_shardset *s, int file, syz_h5 **out);

/** Bytes of the set's files together. */
int64_t syz_shardset_bytes(const syz_shardset *s);
/** Where an object comes from, for messages: "path: object 39627788403084375 (row 17)", cut to `room`. */
void syz_shardset_describe(const syz_shardset *s, int64_t index, char *text, size_t room);
/** How many objects were skipped, and their list in file order; the same on every rank. */
int64_t syz_shardset_rejected(const syz_shardset *s, const syz_rejected **list);
/** Leave out objects that lack a modality that is needed, and number the others anew; *left_out: how many. Collective,
 * with the same arguments on every rank, before any index or loader is used. SYZ_ERR_DATA when none is left. */
syz_status syz_shardset_select(syz_shardset *s, bool needs_image, bool needs_spectrum, int64_t *left_out);
