/* SPDX-License-Identifier: BSD-3-Clause */
/** Macros of the test programs: each prints value, expectation and tolerance; CHECK_RESULT() is what main returns. */
#pragma once

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "syzygy/base.h"

static int check_failures, check_count;

#define CHECK_FAIL_(...)                                                                                               \
  (check_failures++, fprintf(stderr, "%s:%d: ", __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__), fputc('\n', stderr))
#define CHECK(cond) (check_count++, (cond) ? 0 : CHECK_FAIL_("not true: %s", #cond))
#define CHECK_OK(call)                                                                                                 \
  do {                                                                                                                 \
    syz_status check_st_ = (call);                                                                                     \
    check_count++;                                                                                                     \
    if (check_st_ != SYZ_OK) CHECK_FAIL_("%s: %s (%d)", #call, syz_error_text(), (int)check_st_);                      \
  } while (0)
/** The call fails with this code and its message contains `text`. */
#define CHECK_ERROR(call, code, text)                                                                                  \
  do {                                                                                                                 \
    syz_status check_st_ = (call);                                                                                     \
    check_count++;                                                                                                     \
    if (check_st_ != (code))                                                                                           \
      CHECK_FAIL_("%s: code %d, expected %d", #call, (int)check_st_, (int)(code));                                     \
    else if (!strstr(syz_error_text(), (text)))                                                                        \
      CHECK_FAIL_("%s: message \"%s\" lacks \"%s\"", #call, syz_error_text(), (text));                                 \
  } while (0)
#define CHECK_NEAR(value, expected, tolerance)                                                                         \
  do {                                                                                                                 \
    double check_v_ = (value), check_e_ = (expected), check_t_ = (tolerance);                                          \
    check_count++;                                                                                                     \
    if (!(fabs(check_v_ - check_e_) <= check_t_))                                                                      \
      CHECK_FAIL_("%s = %.17g, expected %.17g within %.3g", #value, check_v_, check_e_, check_t_);                     \
  } while (0)
#define CHECK_LT(value, limit)                                                                                         \
  do {                                                                                                                 \
    double check_v_ = (value), check_l_ = (limit);                                                                     \
    check_count++;                                                                                                     \
    if (!(check_v_ < check_l_)) CHECK_FAIL_("%s = %.6g, expected below %.6g", #value, check_v_, check_l_);             \
  } while (0)
#define CHECK_GT(value, limit)                                                                                         \
  do {                                                                                                                 \
    double check_v_ = (value), check_l_ = (limit);                                                                     \
    check_count++;                                                                                                     \
    if (!(check_v_ > check_l_)) CHECK_FAIL_("%s = %.6g, expected above %.6g", #value, check_v_, check_l_);             \
  } while (0)
#define CHECK_EQ(value, expected) CHECK_NEAR((double)(value), (double)(expected), 0.0)
/** What main returns: 0 when at least one check ran and none failed. */
#define CHECK_RESULT()                                                                                                 \
  (fprintf(stderr, "%d checks, %d failed\n", check_count, check_failures), (check_failures || !check_count) ? 1 : 0)
