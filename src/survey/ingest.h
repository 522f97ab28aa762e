/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * From survey files to shards; private to this room.
 *
 * File f is read by rank f mod ranks. Every rank holds the tables of files and of their planes, but only its own
 * spectra, image positions and objects. To be compared, those of different ranks are sent to the rank that owns their
 * common cell of the sky or identifier (route.c), and every choice between them is by position, file and row. Objects
 * are then numbered over all ranks, in the order of files and rows. Shard k is built and written by rank k mod ranks
 * from its objects alone, so its content does not depend on the number of ranks.
 */
#pragma once

#include <stddef.h>

#include "syzygy/data.h"
#include "syzygy/sky.h"
#include "syzygy/survey.h"

/** The role of a file in the input. */
typedef enum ingest_role {
  ROLE_SPECTRA,
  ROLE_REDSHIFTS,
  ROLE_IMAGES,
  ROLE_CATALOGUE,
  ROLE_HDF5,
  ROLE_COUNT
} ingest_role;

typedef struct ingest_file {
  const char *path; /**< into ingest.paths */
  ingest_role role;
  bool is_named; /**< named by itself, not found in a folder */
  int64_t bytes;
  uint64_t digest; /**< of its content if an object is made from it; set by ingest_digest_files */
} ingest_file;

enum { REASON_TEXT = 480, INGEST_LABELS = 64, NO_FILE = -1 };

/** A growing buffer: a rank's findings, to be gathered. */
typedef struct ingest_bytes {
  unsigned char *data;
  size_t n, room;
} ingest_bytes;

/** Records of one size and the rank that each is sent to. */
typedef struct ingest_mail {
  ingest_bytes records, to; /**< to: int32_t */
} ingest_mail;

/** A spectrum that a rank found. Tables keep only its first n_labels labels: spectrum_bytes per record. */
typedef struct ingest_spectrum {
  syz_spectrum_info info;
  int32_t file, cut; /**< syz_cut, SYZ_CUT_NONE = kept so far */
  int64_t row;
  double primary, good_fraction;
  bool has_image; /**< its HDF5 row also holds the image (AstroCLIP) */
  double label[INGEST_LABELS];
} ingest_spectrum;

/** A position that may have an image: a catalogue row, a file's centre, or a row of an HDF5 file with pixels.
 * candidate_bytes per record. */
typedef struct ingest_candidate {
  int64_t object_id; /**< -1 = none */
  double ra, dec;
  int64_t row;
  int32_t file, brick;
  char photsys; /**< with `brick`: of the Legacy Surveys, by the identifier; 0 = unknown */
  bool has_pixels, is_centre;
  bool is_made_id;
  bool is_home;   /**< this rank decides about it; otherwise it is here only as a neighbour of others */
  bool is_wanted; /**< a spectrum has its identifier */
  double label[INGEST_LABELS];
} ingest_candidate;

/** An image position offered to a spectrum. */
typedef struct ingest_offer {
  double chord2;              /**< squared chord between the two */
  int64_t spectrum, place;    /**< numbers: of the spectrum on its own rank, of the position on `owner` */
  int32_t owner, pad;         /**< the rank that keeps the position */
  ingest_candidate candidate; /**< candidate_bytes of it are sent */
} ingest_offer;

/** See stream.c, sky.c, planes.c. */
typedef struct ingest_stream ingest_stream;
typedef struct ingest_sky ingest_sky;
typedef struct ingest_plane_map ingest_plane_map;

/** A plane of an image file. */
typedef struct ingest_plane {
  int32_t file, plane, band, pad;
  double ra, dec, radius_deg;
} ingest_plane;

/** A unit and the file that states it; NO_FILE: none does. */
typedef struct ingest_unit {
  int32_t file;
  char text[72];
} ingest_unit;

/** A column that the input names: the number of files of each role that have it, the nearest name, and its unit. */
typedef struct ingest_column {
  int64_t has[ROLE_COUNT], lacks[ROLE_COUNT];
  int32_t file, distance; /**< NO_FILE = none seen */
  char nearest[72];
  ingest_unit unit, other; /**< of the first file that states one, and of the first that states another */
} ingest_column;

/** A file or object that cannot be used. row -1: the file. */
typedef struct ingest_reject {
  int32_t file, is_object;
  int64_t row, object_id;
  char reason[REASON_TEXT];
} ingest_reject;

/** An object of the result. */
typedef struct ingest_object {
  int64_t object_id;
  double ra, dec, image_ra, image_dec;
  int64_t spectrum, candidate; /**< numbers in the tables, -1 = none */
  bool wants_image, has_image, is_dropped;
  int32_t image_file[SYZ_BANDS], image_plane[SYZ_BANDS]; /**< NO_FILE where a band is missing */
} ingest_object;

/** Numbers that surveys write for a missing value. */
typedef struct ingest_sentinels {
  int n;
  float value[32];
} ingest_sentinels;

/** Counts of this rank; whole numbers of 64 bits only, summed over ranks by ingest_sum_counts. */
typedef struct ingest_cuts {
  int64_t positions, catalogued;            /**< image positions read, and those of them that are not centres */
  int64_t images, spectra, both, redshifts; /**< of the objects kept */
  int64_t passed_over_of[ROLE_COUNT];       /**< files that were opened and are of another kind */
  int64_t passed_over, read, kept, cut[SYZ_CUT_COUNT], bad, unmatched, outside, edge, missing_band, unpaired, repeated,
      not_primary, copies, superseded, no_value, rescaled, lacks_camera, linked, narrow;
} ingest_cuts;

typedef struct syz_survey ingest;

struct syz_survey {
  const syz_run *run;
  syz_survey_options options;
  syz_comm *world;
  int rank, size;
  char *paths;
  int n_files;
  ingest_file *file;
  int n_labels; /**< label 0 is redshift */
  char label[INGEST_LABELS][SYZ_LABEL_NAME];
  ingest_column
      column[INGEST_LABELS + 1]; /**< of the labels (the first: ingest.redshift_column), then of ingest.primary */
  syz_spectra_options spectra_options;
  syz_spectra_cuts cuts;
  char objtype[256], spectype[256];
  syz_images_options image_options;
  ingest_sentinels no_value, no_redshift;     /**< of labels, and of the redshift */
  size_t spectrum_bytes, candidate_bytes;     /**< of a record in the tables */
  int64_t n_spectra, n_candidates, n_objects; /**< of this rank */
  int64_t n_planes, n_rejects;                /**< of all */
  int64_t n_total;                            /**< objects of all ranks, by ingest_number_objects */
  ingest_bytes spectra, candidates;
  ingest_plane *plane;
  ingest_plane_map *plane_map;
  ingest_object *object;
  ingest_reject *reject;
  ingest_cuts count;
  uint64_t zero_points_digest; /**< of the file ingest.zero_points; 0: none */
  syz_images **open;           /**< [n_files] image files of this rank that stay open because they are slow to unpack */
  size_t open_bytes;
  float *has_bricks; /**< [2, SYZ_BRICKS + 1] 1 where the northern (southern) catalogues have sources in a brick; NULL:
                        no brick is known */
  ingest_bytes found_rejects;    /**< of this rank, gathered by ingest_share_rejects */
  ingest_bytes found_candidates; /**< of this rank: image-only rows of HDF5 files, found beside the spectra, and centres
                                    of images */
};

static inline ingest_spectrum *ingest_spectrum_at(const ingest *g, int64_t i)
{
  return (ingest_spectrum *)(void *)(g->spectra.data + (size_t)i * g->spectrum_bytes);
}
static inline ingest_candidate *ingest_candidate_in(const ingest *g, const ingest_bytes *b, int64_t i)
{
  return (ingest_candidate *)(void *)(b->data + (size_t)i * g->candidate_bytes);
}
static inline size_t ingest_offer_bytes(const ingest *g)
{
  return offsetof(ingest_offer, candidate) + g->candidate_bytes;
}

/* ingest.c */
/** An empty ingest with the label of redshifts alone; free it by ingest_forget. */
void ingest_begin(ingest *g, const syz_run *run, const syz_survey_options *options);
void ingest_forget(ingest *g);

/* files.c */
syz_status ingest_list_files(ingest *g); /**< Collective. */
syz_status ingest_add(ingest_bytes *b, const void *item, size_t n);
/** Room for n more bytes. */
syz_status ingest_reserve(ingest_bytes *b, size_t n);
/** Collective. All ranks' items, sorted by `compare`; *all belongs to the caller. */
syz_status ingest_gather(ingest *g, const ingest_bytes *mine, size_t item, int (*compare)(const void *, const void *),
                         void **all, int64_t *n);
/** Note an object or (row -1) a file that cannot be used; the text is the last error's when `reason` is NULL. */
syz_status ingest_note(ingest *g, int file, int64_t row, int64_t object_id, const char *reason);
/** Collective. Add the noted rejects to the table; with data.bad_objects: refuse, SYZ_ERR_DATA names the first. */
syz_status ingest_share_rejects(ingest *g);
/** An image file, perhaps still open; release it by ingest_release_images. Rank-local. */
syz_status ingest_open_images(ingest *g, int file, syz_images **out);
/** Close it, or keep it open for the next stage if it had to be unpacked whole (.gz, .bz2) and memory allows. Sets *m
 * to NULL. */
void ingest_release_images(ingest *g, int file, syz_images **m);
void ingest_close_images(ingest *g);

/* route.c */
/** The rank that owns a cell of the sky or an identifier. */
int32_t ingest_owner(const ingest *g, int64_t key);
syz_status ingest_post(ingest_mail *m, const void *record, size_t item, int32_t rank);
/** Collective. Send the posted records to their ranks, where they are appended to `out` in undefined order; the mail is
 * empty afterwards. */
syz_status ingest_send(ingest *g, ingest_mail *m, size_t item, ingest_bytes *out);
void ingest_mail_free(ingest_mail *m);

/* found.c, rank-local */
/** The cuts that need no other file. */
syz_cut ingest_early_cut(const ingest *g, const syz_spectrum_info *info, double primary);
/** Set in `o` the good share of a spectrum, and whether it is too small; *fault: NULL, or why it cannot be used. */
void ingest_check_pixels(const ingest *g, const float *flux, const float *ivar, ingest_spectrum *o, const char **fault,
                         char reason[160]);
/** Note a file that cannot be used, or skip it if it is an intact file of another kind found in a folder. */
syz_status ingest_note_file(ingest *g, int file);

/* objects.c */
/** The file of an object's spectrum, or else of its candidate, and the row there. */
int ingest_file_of_object(const ingest *g, const ingest_object *o, int64_t *row);
/** Order of files and rows, centres last. */
int ingest_compare_candidates(const void *a, const void *b);
/** Collective: *number [n_objects]: the numbers of this rank's objects among all; belongs to the caller. Sets n_total.
 */
syz_status ingest_number_objects(ingest *g, int64_t **number);

/* scan.c */
syz_status ingest_scan_spectra(
    ingest *g); /**< Collective: spectra of FITS and HDF5 files, pixels checked; image-only rows of HDF5 files. */
syz_status ingest_scan_images(ingest *g); /**< Collective: planes of image files, on every rank. */
syz_status ingest_check_roles(ingest *g); /**< Collective: an error if all files of a role are of another kind. */

/* centres.c */
/** Not collective: adds the centres of this rank's files, without repeats of earlier ones, to the found candidates. */
syz_status ingest_find_centres(ingest *g);

/* stream.c */
syz_status ingest_stream_open(ingest *g, ingest_stream **out);
void ingest_stream_close(ingest_stream **s);
/** Not collective. The next block of this rank's candidates; block->n is 0 when there are no more. */
syz_status ingest_stream_next(ingest *g, ingest_stream *s, ingest_bytes *block);

/* sky.c, all collective */
/** Send the spectra that need an image, except those in is_out, to the ranks that will receive positions near them. */
syz_status ingest_sky_open(ingest *g, const bool *is_out, ingest_sky **out);
void ingest_sky_close(ingest_sky **s);            /**< Not collective. */
syz_status ingest_sky_read(ingest_sky *s);        /**< Read all positions; keep those that may become objects. */
syz_status ingest_sky_drop_copies(ingest_sky *s); /**< Drop copies. */
syz_status ingest_sky_offer(ingest_sky *s, ingest_bytes *offers); /**< ingest_offer records for this rank's spectra. */
/** `takes`: sends the places (int64_t) of accepted offers to their owners. The other positions that may have an image
 * are sent to the ranks of their files. */
syz_status ingest_sky_rest(ingest_sky *s, ingest_mail *takes, ingest_bytes *rest);

/* hdf5.c */
/** Rank-local: rows with a spectrum go to `spectra` (with their image, if they have one), rows with only an image to
 * `candidates`. */
syz_status ingest_scan_hdf5(ingest *g, int file, ingest_bytes *spectra, ingest_bytes *candidates);

/* redshifts.c */
syz_status ingest_join_redshifts(ingest *g); /**< Collective: ingest.redshifts by identifier, then the cuts. */

/* columns.c */
/** Record what a file's tables have for column k: 0 .. n_labels - 1 the labels, n_labels ingest.primary. Rank-local. */
void ingest_note_column(ingest *g, int file, int k, const syz_column_search *search);
/** Collective, after both scans: a column that no file has is SYZ_ERR_DATA with the nearest name. Files that state
 * different units get a warning. */
syz_status ingest_check_columns(ingest *g);
/** Collective, after the redshifts are joined: an unknown word in ingest.objtype or ingest.spectype is SYZ_ERR_DATA. */
syz_status ingest_check_types(ingest *g);
/** Name that the input gives to column k; "" when it names none. */
const char *ingest_column_name(const ingest *g, int k);
/** Unit of label k, after ingest_check_columns; "" when no file states one, or two files contradict each other. */
const char *ingest_label_unit(const ingest *g, int k);

/** Replace numbers that mean "no value" in the labels of one object by NaN; `n` counts them. */
void ingest_clear_labels(const ingest *g, double *label, int64_t *n);
double ingest_clear_redshift(const ingest *g, double z);

/* duplicates.c */
/** Record from which imaging of the Legacy Surveys the candidates of each brick are. Rank-local. */
syz_status ingest_note_bricks(ingest *g, ingest_bytes *candidates);
/** Collective: join the ranks' records of bricks. */
syz_status ingest_share_bricks(ingest *g);
/** Not collective: set is_copy of the candidates that are home here; the others are their neighbours within the radius.
 */
syz_status ingest_find_copies(const ingest *g, const ingest_bytes *candidates, bool *is_copy);

/* ids.c */
/** Collective: identifiers for candidates without one. */
syz_status ingest_make_ids(ingest *g, ingest_bytes *candidates);
/** Collective: SYZ_ERR_DATA when two sources have one identifier. */
syz_status ingest_check_ids(ingest *g);

/* match.c */
syz_status ingest_make_objects(ingest *g); /**< Collective: pairs spectra and candidates. */
void ingest_drop(ingest *g);               /**< Not collective: apply ingest.keep and remove the dropped objects. */

/* digest.c */
syz_status ingest_digest_files(ingest *g); /**< Collective: digests of the files in use. */

/* planes.c */
syz_status ingest_map_planes(ingest *g); /**< Not collective: which planes may touch which cell of the sky. */
void ingest_forget_planes(ingest *g);
bool ingest_plane_reaches(const ingest *g, int32_t cell);
syz_status
ingest_choose_planes(ingest *g); /**< Collective: choose the plane of each object's bands, and check the cutouts. */

/* deal.c, collective */
/** Replace the tables of spectra, candidates and objects by those of the objects that this rank writes, in the order of
 * their numbers. */
syz_status ingest_deal_objects(ingest *g);

/* shards.c */
syz_status ingest_write_shards(ingest *g); /**< Collective. */
