/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: libhdf5 at work on a file from outside. Only in a reader process (serve.c): the library may
 * crash on such a file. */
#pragma once

#include "facts.h"
#include "file.h"
#include "only.h"
#include "syzygy/h5.h"

enum { H5_KEPT = 8 /**< datasets kept open */ };

struct h5_kept;

typedef struct h5_here {
  h5_only only;
  const char *path; /* as the user knows it, for messages */
  hid_t file;
  size_t memory;     /* bytes this process may use, beyond what it began with or (h5_here_limit) has */
  bool is_tight;     /* and the user's own limit is the tighter one */
  size_t all_memory; /* what both are beside the library's calls */
  bool is_all_tight;
  double file_bytes;
  void (*work)(double bytes); /* called before the library works through so many bytes without reading */
  struct h5_kept *kept;       /* [H5_KEPT] */
  int64_t clock;
} h5_here;

/** Before the library works on what the file says of itself, whose lengths it believes: from now on this process may
 * take as much memory as a sound file of this size can make it take, where no text is longer than the file, and `more`
 * bytes. */
void h5_here_limit(h5_here *h, double more);
/** The same before it describes a dataset, which may be a view of others. */
void h5_here_limit_facts(h5_here *h);
/** Back to what this process may take in all. */
void h5_here_unlimit(h5_here *h);
/** Open only.file. SYZ_ERR_DATA or SYZ_ERR_MEMORY, as all of these. */
syz_status h5_here_open(h5_here *h);
/** *has: whether the file has an object of this name. */
syz_status h5_here_has(h5_here *h, const char *name, bool *has);
syz_status h5_here_facts(h5_here *h, const char *name, h5_facts *facts);
/** How many rows from `first` on to read at a time: about `bytes` of `row_bytes` each, whole chunks where it can. */
int64_t h5_here_piece(h5_here *h, const char *name, int64_t first, size_t row_bytes, size_t bytes);
/** As syz_h5_read, syz_h5_read_strings, syz_h5_read_text, syz_h5_read_number. */
syz_status h5_here_read(h5_here *h, const char *name, syz_h5_type type, int64_t first, int64_t n, void *data);
syz_status h5_here_strings(h5_here *h, const char *name, int64_t first, int64_t n, size_t room, char *text);
syz_status h5_here_text(h5_here *h, const char *object, const char *attribute, char **text);
syz_status h5_here_number(h5_here *h, const char *object, const char *attribute, double *value, bool *found);
/** Names of the datasets below a group, or of the members of a dataset of records, sorted, each ended by NUL; owned by
 * the caller. *names NULL: none. */
syz_status h5_here_names(h5_here *h, const char *group, char **names, size_t *bytes);
/** The answer of h5_read_seal. */
syz_status h5_here_seal(h5_here *h, bool *is_own, char **text);

/* ---- records: here_records.c */

/** Length of the name of the dataset when `name` is that of a member of its records; 0 when it is not. */
size_t h5_here_record(h5_here *h, const char *name);
/** Makes the facts of a dataset of records those of a member; *element: the type of one of its items (H5Tclose). */
syz_status h5_here_member(h5_here *h, const char *name, const char *member, hid_t record, h5_facts *facts,
                          hid_t *element);
/** The type in memory of records that have this member alone, items of `element` (H5Tclose); negative without memory.
 */
hid_t h5_here_record_of(const char *member, hid_t element, int axes, const int64_t *shape);

/* ---- here_look.c, and what here.c, here_names.c and here_records.c share */

/** Why the library failed, in words, and the status of that. */
syz_status h5_here_why(h5_here *h, char reason[H5_REASON]);
/** A link of the kind that leads out of the file must be one that is allowed. `shown`: its name in the message. */
syz_status h5_here_check_link(h5_here *h, hid_t group, const char *name, const char *shown, const H5L_info_t *link);
/** Bytes before the first NUL, at most `room`. */
size_t h5_here_text_length(const char *text, size_t room);
