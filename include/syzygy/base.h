/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * base: what every room needs. Errors, log, clock, signs of life, memory, checksums, processor, sorted rows, texts.
 *
 * Nothing here knows of MPI: comm gives the log its rank and installs the abort hook. Nothing here is collective.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---------------------------------------------------------------- errors */

/** What a failure means; the values are the exit codes (src/README.md "Exit codes"), so a status can end the program
 * unchanged. */
#define SYZ_STATUS_LIST(X)                                                                                             \
  X(SYZ_OK, 0, "done")                                                                                                 \
  X(SYZ_ERR_INPUT, 2, "command line or input file")                                                                    \
  X(SYZ_ERR_DATA, 3, "bad input data")                                                                                 \
  X(SYZ_ERR_WRITE, 4, "cannot write")                                                                                  \
  X(SYZ_ERR_CHECKPOINT, 5, "no usable checkpoint")                                                                     \
  X(SYZ_ERR_NUMERIC, 6, "numerical failure")                                                                           \
  X(SYZ_ERR_RANK, 7, "a rank died or hung")                                                                            \
  X(SYZ_ERR_MEMORY, 8, "not enough memory or ranks")                                                                   \
  X(SYZ_ERR_INTERNAL, 10, "internal error")                                                                            \
  X(SYZ_STOPPED, 75, "stopped early with a good checkpoint: run the same command again to go on")

typedef enum syz_status {
#define SYZ_STATUS_ENUM(name, value, text) name = value,
  SYZ_STATUS_LIST(SYZ_STATUS_ENUM)
#undef SYZ_STATUS_ENUM
} syz_status;

enum { SYZ_ERROR_TEXT = 4096 };

/** Text of a status, as in the list above; never NULL. */
const char *syz_status_text(syz_status status);

/** Record a failure of this thread (replacing any earlier one) and return `code`. printf-like. */
syz_status syz_error_set(syz_status code, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** Add "passed file:line" to the recorded failure; returns `code` unchanged. */
syz_status syz_error_pass(syz_status code, const char *file, int line);

/** The recorded message of this thread, a buffer of SYZ_ERROR_TEXT bytes; empty when nothing failed. Agreement between
 * ranks writes to it. */
char *syz_error_text(void);
/** Copy the message to `text`, and restore it from there, around work that would overwrite it: cleaning up, looking at
 * other files. */
void syz_error_keep(char text[SYZ_ERROR_TEXT]);
void syz_error_restore(const char text[SYZ_ERROR_TEXT]);
/** Put "prefix: " in front of the message, after the rank that agreement names; returns `code` unchanged. */
syz_status syz_error_prefix(syz_status code, const char *prefix);

/** If `cond` is false: record the message, set st, goto cleanup. */
#define SYZ_REQUIRE(cond, code, ...)                                                                                   \
  do {                                                                                                                 \
    if (!(cond)) {                                                                                                     \
      st = syz_error_set((code), __FILE__, __LINE__, __VA_ARGS__);                                                     \
      goto cleanup;                                                                                                    \
    }                                                                                                                  \
  } while (0)

/** st = call; if it failed: add this file and line, goto cleanup. In a collective function only for calls on whose
 * outcome all ranks agree inside the call. */
#define SYZ_TRY(call)                                                                                                  \
  do {                                                                                                                 \
    st = (call);                                                                                                       \
    if (st != SYZ_OK) {                                                                                                \
      st = syz_error_pass(st, __FILE__, __LINE__);                                                                     \
      goto cleanup;                                                                                                    \
    }                                                                                                                  \
  } while (0)

/** End the whole job at once, where agreement between ranks is impossible. comm installs MPI_Abort as the hook. Does
 * not return. */
_Noreturn void syz_abort(syz_status code, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void syz_abort_hook(void (*hook)(int code));

/** An internal contract that every build checks: when it is broken, the job ends with exit code 10. */
#define SYZ_ASSERT(cond)                                                                                               \
  ((cond) ? (void)0 : syz_abort(SYZ_ERR_INTERNAL, __FILE__, __LINE__, "broken contract: %s", #cond))

/**
 * Injected failures, for tests: true when the environment variable SYZ_FAULT asks for a failure at this visit of
 * `point`.
 *
 * SYZ_FAULT is `point:rank:visit[:kill|stop|spin|sleep]`, e.g. `h5_write:2:3` (the third visit of h5_write on rank 2
 * fails) or with `kill` (the rank sends itself SIGKILL there), `stop` (SIGSTOP), `spin` (it computes forever), `sleep`
 * (it waits forever). Always false unless built with -DSYZ_FAULTS=ON.
 */
bool syz_fault(const char *point);
/**
 * Injected bit flips, for tests: true when the environment variable SYZ_FLIP asks for a flip at this visit of `point`;
 * *draw is then a random number of its seed. SYZ_FLIP is a comma-separated list of `point:rank:visit:seed[:always]`;
 * `always` flips another bit at that visit and at each later one. Always false unless built with -DSYZ_FAULTS=ON.
 */
bool syz_flip(const char *point, uint64_t *draw);
/** Flip one bit of bytes [n], chosen by `draw`, and say of which point on standard error. Nothing when n is 0. */
void syz_flip_bit(const char *point, void *bytes, size_t n, uint64_t draw);

/* ------------------------------------------------------------------- log */

typedef enum syz_log_level { SYZ_LOG_INFO, SYZ_LOG_WARN, SYZ_LOG_ERROR } syz_log_level;

/** Set this process's rank: only rank 0 prints info and warnings, every rank prints errors. Default: rank 0 of 1. */
void syz_log_rank(int rank, int size);
int syz_log_get_rank(void);
/** Rank 0 only: also write all messages, earlier ones included, to this open file, which the log closes. -1: close it
 * and write to no file. SYZ_ERR_WRITE. */
syz_status syz_log_to(int fd);
void syz_log(syz_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define syz_info(...) syz_log(SYZ_LOG_INFO, __VA_ARGS__)
#define syz_warn(...) syz_log(SYZ_LOG_WARN, __VA_ARGS__)

/** A progress line with rate and time left: live on a terminal, new lines at intervals in a file; by rank 0 only. */
typedef struct syz_progress {
  const char *what, *unit;
  int64_t total, start;
  double t0, t_last;
} syz_progress;
/** Begin at `start` of `total` units; the rate does not count work of an earlier run. Strings are borrowed. */
void syz_progress_begin(syz_progress *p, const char *what, const char *unit, int64_t start, int64_t total);
/** Report `done` units; `note` (may be NULL) follows the rate. Prints only when a line is due. */
void syz_progress_tell(syz_progress *p, int64_t done, const char *note);
void syz_progress_end(syz_progress *p, int64_t done);

/* ----------------------------------------------------------------- clock */

/** Monotonic seconds since an arbitrary start. */
double syz_clock_s(void);
/** Seconds since the program started. */
double syz_clock_since_start_s(void);
/** UTC now as "2026-01-31T12:00:00Z" into at least 21 bytes. */
void syz_clock_utc(char text[32]);

/**
 * Time of this rank by named phase; a phase begun inside another pauses the outer one. `within_s`, if given, is a
 * running count of seconds (those inside MPI), whose increase during each phase is recorded too.
 */
enum { SYZ_TIMING_PHASES = 32, SYZ_TIMING_DEPTH = 8 };
typedef struct syz_timing {
  const char *name[SYZ_TIMING_PHASES];
  double seconds[SYZ_TIMING_PHASES], within[SYZ_TIMING_PHASES];
  int64_t count[SYZ_TIMING_PHASES];
  int n, depth;
  int stack[SYZ_TIMING_DEPTH];
  double t_first, t_last;           /**< clock at the first begin and at the last change */
  double within_first, within_last; /**< within_s at these times */
  const double *within_s;           /**< borrowed; NULL: none */
} syz_timing;
void syz_timing_begin(syz_timing *t, const char *phase); /**< `phase` must be a string that outlives t */
void syz_timing_end(syz_timing *t);
/** Clear all phases and start the clock now; no phase may be open. */
void syz_timing_restart(syz_timing *t);

/* ----------------------------------------------------------------- pulse */

/**
 * Signs of life of this process for a watchdog (comm): a counter that grows while work proceeds, and what the main
 * thread does. Every call costs a few nanoseconds. Phases, progress lines and MPI calls of comm count already; a long
 * loop without any of these must call syz_pulse once per iteration. Any thread may call it.
 */
void syz_pulse(void);
/** The main thread starts to wait for other ranks in `call`, a string that is never freed; NULL: the wait is over, and
 * work proceeds. */
void syz_pulse_wait(const char *call);
/** The main thread polls, in a loop, whether other ranks are ready. It counts as waiting unless syz_pulse is called
 * between the polls. */
void syz_pulse_look(const char *call);
typedef struct syz_pulse_state {
  uint64_t beats, looks;
  const char *phase, *wait, *look; /**< NULL: none */
} syz_pulse_state;
syz_pulse_state syz_pulse_read(void);

/* ---------------------------------------------------------------- memory */

/**
 * 64-byte aligned, labelled and counted memory, zero-filled; huge pages are asked for above 2 MiB.
 * Returns NULL and records SYZ_ERR_MEMORY with label and size when there is no memory or count x size overflows.
 */
void *syz_alloc(const char *label, size_t count, size_t size);
/** Free and set the pointer to NULL; NULL is allowed. Use as syz_free(&p). */
void syz_free_(void **p);
#define syz_free(pp) syz_free_((void **)(pp))
/** Like SYZ_TRY: allocate `p`, or set st and goto cleanup. */
#define SYZ_ALLOC(p, label, count)                                                                                     \
  do {                                                                                                                 \
    (p) = syz_alloc((label), (size_t)(count), sizeof *(p));                                                            \
    if (!(p)) {                                                                                                        \
      st = syz_error_pass(SYZ_ERR_MEMORY, __FILE__, __LINE__);                                                         \
      goto cleanup;                                                                                                    \
    }                                                                                                                  \
  } while (0)

/**
 * Make room for `more` items after the `n` that a list holds: syz_grow(&list, "names", n, 1, &room), then write
 * list[n]. A full list is copied to a larger one, which invalidates pointers into it; growing item by item copies each
 * item only a few times. Unwritten items are zero. `room` (size_t): capacity in items, 0 with a NULL list.
 * SYZ_ERR_MEMORY, also when the number of items overflows; the list is then unchanged.
 */
#define syz_grow(list, label, n, more, room)                                                                           \
  syz_grow_((void **)(list), (label), (size_t)(n), (size_t)(more), (room), sizeof **(list))
syz_status syz_grow_(void **list, const char *label, size_t n, size_t more, size_t *room, size_t size);

typedef struct syz_memory_stats {
  int64_t allocations; /**< calls of syz_alloc so far; must not grow inside a step */
  int64_t live_blocks;
  size_t live_bytes, peak_bytes;
} syz_memory_stats;
syz_memory_stats syz_memory_get(void);
/** Peak resident set of this process in bytes, from the kernel. */
size_t syz_memory_resident_peak(void);
/** Present resident set of this process without deliberately shared memory, in bytes; 0 when the kernel does not report
 * it. */
size_t syz_memory_private(void);
/** Deliberately shared memory of this process, in bytes; 0 when the kernel does not report it. */
size_t syz_memory_shared(void);
/** Call syz_memory_note where memory use peaks. syz_memory_noted returns the largest resident set at these calls, in
 * bytes, in which a page that n processes share counts 1/n (the kernel's Pss). */
void syz_memory_note(void);
size_t syz_memory_noted(void);
/** Bytes that this process may still use: free memory of the machine, or the tighter limit of its control group. */
size_t syz_memory_available(void);
/** This rank's share of these bytes, when all ranks of the node use equal amounts. */
size_t syz_memory_share(void);
/** Set the number of ranks of this node; 1 before. */
void syz_memory_set_ranks(int ranks);

/** A plan of memory: a first pass adds up sizes, then one block is allocated, and the same calls return addresses. */
typedef struct syz_arena {
  unsigned char *base;
  size_t used, size;
} syz_arena;
/** `count` items of `size` bytes at the next 64-byte boundary; NULL in the first pass (base is NULL). */
void *syz_arena_take(syz_arena *a, size_t count, size_t size);

/* -------------------------------------------------------------- checksums */

/** XXH3 (64 bits) of bytes. `seed` chains checksums or distinguishes kinds of data. */
uint64_t syz_checksum(const void *bytes, size_t n, uint64_t seed);
/**
 * Checksum of rows that different ranks hold: the sum modulo 2^64 of XXH3(row, seed = global row number + 1).
 * Partial sums over any partition of the rows add up to the same value, so it does not depend on the rank count.
 */
uint64_t syz_checksum_rows(const void *rows, int64_t n, size_t row_bytes, int64_t first_row);
/**
 * Sum modulo 2^64 of x [n] read as 64-bit words of two elements; a last single element is half a word. Any change
 * within one word changes the sum, so it detects every single flipped bit. Sums of stretches that begin at even indices
 * add up to the sum of the whole. As fast as memory, unlike XXH3.
 */
uint64_t syz_sum_of_bits(const float *x, int64_t n);

/* --------------------------------------------------------------- version */

const char *syz_version(void); /**< "0.1.0" */
const char *syz_commit(void);  /**< git commit, with "-dirty" when files were modified; "unknown" outside a checkout */
const char *syz_build(void);   /**< compiler, build type, flags in one line */

/* ------------------------------------------------------------- processor */

/** Instruction sets by which kernels and libraries are chosen. Each includes earlier ones of its architecture. */
typedef enum syz_isa {
  SYZ_ISA_AVX2, /**< x86-64 from here */
  SYZ_ISA_AVX512,
  SYZ_ISA_AVX512_BF16,
  SYZ_ISA_AMX,
  SYZ_ISA_NEON,      /**< 64-bit Arm from here */
  SYZ_ISA_NEON_BF16, /**< FEAT_BF16 and FEAT_I8MM: products of bfloat16 and of 8-bit integers */
  SYZ_ISA_LAST = SYZ_ISA_NEON_BF16
} syz_isa;
/** The best instruction set of this processor, up to syz_processor_limit. The first call asks the operating system for
 * permission to use tiles; if it refuses, there is one warning and the next best set is returned. */
syz_isa syz_processor_isa(void);
/** Compute as on an older processor, in compute contexts made afterwards. Call it before any thread starts. It does not
 * affect the compiler's own versions of element-wise loops. A set of the other architecture limits nothing. */
void syz_processor_limit(syz_isa most);
/** "avx2", "avx512", "avx512_bf16", "amx", "neon", "neon_bf16". */
const char *syz_isa_name(syz_isa isa);
/** The name of syz_processor_isa(). */
const char *syz_instruction_set(void);

/* ------------------------------------------------------------------ rows */

/**
 * The first of n sorted rows, each of `size` bytes, that is not below the key; n when all are. Of several rows with
 * that key it is the first, which bsearch does not promise. `is_below` holds for all rows before the one that is found
 * and for none from there on. NULL rows are fine when n is 0.
 */
int64_t syz_lower_bound(const void *key, const void *rows, int64_t n, size_t size,
                        bool (*is_below)(const void *row, const void *key));

/* ------------------------------------------------------------------ texts */

/** A borrowed list of texts. */
typedef struct syz_texts {
  int n;
  const char *const *item;
} syz_texts;
/** The texts, one per line (syz_free); NULL without memory. */
char *syz_texts_lines(syz_texts t);
/** Whether one of the texts is this one. */
bool syz_texts_have(syz_texts t, const char *text);
/** Number of insertions, deletions and changes of letters (case ignored) that turn one name into the other: to suggest
 * the nearest known name. */
int syz_edit_distance(const char *a, const char *b);

enum { SYZ_NUMBER_TEXT = 96 /**< room for the text of a number and a noun */ };
/** A number as people write it: 12,345; 0.05; 1e-5; 4e9. Exact for whole numbers, otherwise 15 digits. Returns text. */
const char *syz_number_text(char text[SYZ_NUMBER_TEXT], double x);
/** "1 rank", "12,345 ranks", "0 ranks": the number, and the noun with an s unless the number is 1. Returns text. */
const char *syz_count_text(char text[SYZ_NUMBER_TEXT], int64_t n, const char *noun);
/** The same two as arguments of printf: the text lasts until the end of the block. */
#define SYZ_NUMBER(x) syz_number_text((char[SYZ_NUMBER_TEXT]){0}, (double)(x))
#define SYZ_COUNT(n, noun) syz_count_text((char[SYZ_NUMBER_TEXT]){0}, (int64_t)(n), noun)
