/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * files: files and folders on the disk, those that stay open, and the children that decode what comes from outside.
 *
 * Nothing here is collective.
 */
#pragma once

#include "syzygy/base.h"

/* ----------------------------------------------------- files and folders */

/** Create a folder and its parents; existing is fine. SYZ_ERR_WRITE names the path and errno's reason. */
syz_status syz_make_folder(const char *path);
/**
 * Open a file for reading: a regular one, or SYZ_ERR_DATA with its name and what it is instead. A FIFO or a device
 * would keep the caller waiting for ever; opening is told not to wait, and the type is asked of what has been opened.
 * *fd is the caller's to close, -1 on error; *bytes: its size now.
 */
syz_status syz_file_open_input(const char *path, int *fd, int64_t *bytes);
/** Whole small file into memory, NUL-terminated (syz_free); at most `limit` bytes. SYZ_ERR_DATA otherwise. */
syz_status syz_file_read(const char *path, size_t limit, char **text, size_t *n);
/** Write a small text file atomically: name.tmp, fsync, rename. */
syz_status syz_file_write(const char *path, const char *text, size_t n);
/** fsync a file, rename it to its final name, fsync the folder. A link under either name is refused. */
syz_status syz_file_publish(const char *temporary, const char *final);

/*
 * Symbolic links: the folders that the user names (output.dir, train.token_cache_dir) may be links. What syzygy itself
 * creates or replaces below them is never reached through one, and what it removes is the name, never what a link
 * points to: a link in place of a file to be written, or of a folder to be written into or removed, is SYZ_ERR_WRITE
 * with its path. Reading follows links. See src/files/place.c.
 */

/** SYZ_ERR_WRITE when the name is a symbolic link; a name that is not there is fine. */
syz_status syz_refuse_link(const char *path);
/** open(2) of a file to be written, never through a link; a new file gets mode 0666. SYZ_ERR_WRITE also for what is no
 * regular file. */
syz_status syz_file_open(const char *path, int flags, int *fd);
/** Create the folder `base` as syz_make_folder does, and the folders `below` it, of which none may be a link. */
syz_status syz_make_own_folder(const char *base, const char *below);
/** Remove a folder of files, the file `first` before the others; a missing one is fine. Neither the folder nor anything
 * in it is followed. */
syz_status syz_remove_folder(const char *path, const char *first);

/**
 * Folders and files met on a walk through folders, by device and number: what a symbolic link leads to again is not
 * new, so that nothing counts twice and a loop of links ends. Begin with {0}; not shared between threads.
 */
typedef struct syz_met {
  struct syz_met_entry *entry; /**< open addressing */
  size_t n, room;
} syz_met;
/** *is_new: it was not met before, and is from now on. SYZ_ERR_DATA when `path` cannot be looked at, SYZ_ERR_MEMORY. */
syz_status syz_met_add(syz_met *m, const char *path, bool *is_new);
void syz_met_free(syz_met *m);
/**
 * Digest of a file's content: the sum modulo 2^64 of XXH3(block, seed = block number + 1) over blocks of 1 MiB, of the
 * share `part` of `parts` (all: 0 of 1). The sums of all parts add up to the same value for any number of parts. Reads
 * at the speed of the disk. SYZ_ERR_DATA.
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

/** What a child that decodes bytes from outside may still do. */
typedef struct syz_confinement {
  size_t memory; /**< bytes of address space beyond what it has; 0: as the user's own limit says */
  int cpu_s;     /**< seconds of processor time, then SIGXCPU; 0: no limit */
  bool may_open; /**< other files, for reading */
} syz_confinement;
/**
 * For a forked child, first: give up every descriptor but `keep` [n] (0, 1, 2 become /dev/null), writable memory shared
 * with other processes, MPI's signal handlers and the signals meant for the run (they are ignored: the run ends its
 * children). Cannot fail.
 */
void syz_child_separate(const int *keep, int n);
/** What ps shows of that child; also in place of the command line that it has from its parent. */
void syz_child_name(const char *name);
/** For that child, before it touches a byte of the file: limits that can't be lifted again, and a filter of system
 * calls where the platform has seccomp. Returns true when the user's own limit of memory (ulimit -v) is the tighter
 * one. */
bool syz_child_confine(const syz_confinement *c);
/** For a confined child: at most `bytes` of address space more than it has now, until the next call; 0: what
 * syz_child_confine said. Returns true when `bytes` is the tighter bound. In a process that is not confined it does
 * nothing and returns false. */
bool syz_child_limit(size_t bytes);
