/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * files: files and folders on the disk, files that stay open, and child processes that decode files from outside.
 *
 * Nothing here is collective.
 */
#pragma once

#include "syzygy/base.h"

/* ----------------------------------------------------- files and folders */

/** Create a folder and its parents, unless they exist. SYZ_ERR_WRITE names the path and errno's reason. */
syz_status syz_make_folder(const char *path);
/**
 * Open a regular file for reading; for anything else SYZ_ERR_DATA says what it is. A FIFO or a device could block
 * forever: therefore the file is opened without waiting, and its type checked after opening. The caller closes *fd,
 * which is -1 on error; *bytes: its present size.
 */
syz_status syz_file_open_input(const char *path, int *fd, int64_t *bytes);
/** Read a whole small file into memory, NUL-terminated (syz_free). SYZ_ERR_DATA, also for more than `limit` bytes. */
syz_status syz_file_read(const char *path, size_t limit, char **text, size_t *n);
/** Write a small text file atomically: name.tmp, fsync, rename. */
syz_status syz_file_write(const char *path, const char *text, size_t n);
/** fsync a file, rename it to its final name, fsync the folder. SYZ_ERR_WRITE, also when either name is a link. */
syz_status syz_file_publish(const char *temporary, const char *final);

/*
 * Symbolic links: the folders that the user names (output.dir, train.token_cache_dir) may be links. Below them syzygy
 * never writes through a link, and it removes only names, never the target of a link: a link in place of a file or
 * folder to be written or removed is SYZ_ERR_WRITE with its path. Reading follows links. See src/files/place.c.
 */

/** SYZ_ERR_WRITE when the name is a symbolic link; a name that does not exist is allowed. */
syz_status syz_refuse_link(const char *path);
/** open(2) of a file to be written, never through a link; a new file gets mode 0666. SYZ_ERR_WRITE, also for anything
 * but a regular file. */
syz_status syz_file_open(const char *path, int flags, int *fd);
/** Create the folder `base` like syz_make_folder, and the path `below` in it, of which no folder may be a link. */
syz_status syz_make_own_folder(const char *base, const char *below);
/** Remove a folder of files, the file `first` before the others, without following links. The folder may be missing. */
syz_status syz_remove_folder(const char *path, const char *first);

/**
 * The set of folders and files visited on a walk through folders, by device and inode: the target of a second link is
 * not new, so nothing counts twice and a loop of links ends. Begin with {0}; not thread-safe.
 */
typedef struct syz_met {
  struct syz_met_entry *entry; /**< open addressing */
  size_t n, room;
} syz_met;
/** Add `path`; *is_new: it was not in the set. SYZ_ERR_DATA when it cannot be examined, SYZ_ERR_MEMORY. */
syz_status syz_met_add(syz_met *m, const char *path, bool *is_new);
void syz_met_free(syz_met *m);
/**
 * Digest of a file's content: the sum modulo 2^64 of XXH3(block, seed = block number + 1) over blocks of 1 MiB, of
 * share `part` of `parts` (the whole file: 0 of 1). The sums of all parts add up to the same value for any number of
 * parts. SYZ_ERR_DATA.
 */
syz_status syz_file_sum(const char *path, int part, int parts, int64_t *bytes, uint64_t *sum);

/* ------------------------------------------------- files that stay open */

enum { SYZ_KEPT_OPEN_MOST = 32 };
/**
 * Which of many numbered files are kept open: each has a slot, and when all are taken the file that was not used for
 * longest gives way. What is open, a descriptor or a handle, the caller has in an array of its own, by slot. All zero:
 * none is open.
 */
typedef struct syz_kept_open {
  int64_t clock;
  struct {
    int file;
    int64_t used; /**< by `clock`; 0: an empty slot */
  } slot[SYZ_KEPT_OPEN_MOST];
} syz_kept_open;
/** True: `file` is in *slot, one of the first `slots`, and used now. False: *slot is to be its, and is empty from now
 * on; the caller closes what is left there (of slot[*slot].file), opens the file, and then calls put. */
bool syz_kept_open_find(syz_kept_open *k, int slots, int file, int *slot);
void syz_kept_open_put(syz_kept_open *k, int slot, int file);

/* -------------------------------------------------- children that decode */

/** What a child process that decodes bytes from outside may do. */
typedef struct syz_confinement {
  size_t memory; /**< bytes of address space beyond its present size; 0: only the user's own limit */
  int cpu_s;     /**< seconds of processor time, then SIGXCPU; 0: no limit */
  bool may_open; /**< whether it may open other files for reading */
} syz_confinement;
/**
 * Call it first in a forked child: closes every descriptor except `keep` [n] (0, 1, 2 become /dev/null), unmaps
 * writable memory shared with other processes, removes MPI's signal handlers, and ignores the signals meant for the
 * run, which ends its children itself. Cannot fail.
 */
void syz_child_separate(const int *keep, int n);
/** Set the name of that child in ps, also in place of the command line of its parent. */
void syz_child_name(const char *name);
/** Call it in that child before it reads a byte of the file: sets limits that cannot be lifted, and a filter of system
 * calls where the platform has seccomp. Returns true when the user's own limit of memory (ulimit -v) is the tighter
 * one. */
bool syz_child_confine(const syz_confinement *c);
/** Limit a confined child to `bytes` of address space beyond its present size, until the next call; 0: to the limit of
 * syz_child_confine. Returns true when `bytes` is the tighter limit. In a process that is not confined it does nothing
 * and returns false. */
bool syz_child_limit(size_t bytes);
