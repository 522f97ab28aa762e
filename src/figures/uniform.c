/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Probabilities of the Kolmogorov-Smirnov and the Cramer-von Mises statistic of n uniform numbers.
 *
 * Kolmogorov-Smirnov, by the case as in Simard & L'Ecuyer 2011 (doi:10.18637/jss.v039.i11): exact at both ends (Ruben &
 * Gambino 1982); twice the one-sided probability (Smirnov 1944, Birnbaum & Tingey 1951) where both sides are hardly
 * passed at once; else 1 - P(D < d), from the matrix of Durbin in the form of Marsaglia, Tsang & Wang 2003
 * (doi:10.18637/jss.v008.i18) where that is small, and from the series of Pelz & Good 1976
 * (J. R. Stat. Soc. B 38, 152) up to n^(-3/2) elsewhere.
 *
 * Cramer-von Mises: Csorgo & Faraway 1996 (J. R. Stat. Soc. B 58, 221), equations 1.2 and 1.8. Both series have terms
 * with Bessel functions of the second kind K_nu of nu = 1/4, 3/4, 5/4, here by their integral of
 * exp(-z cosh t) cosh(nu t): it falls off so fast on both sides that the trapezoidal rule is exact to the last digits.
 */
#include <math.h>
#include <string.h>

#include "syzygy/figures.h"

static const double pi = 3.14159265358979323846;

/* The largest matrix: n d^2 <= 4 for n <= 140, or n d^1.5 <= 1.4 for n <= 100,000; 2 ceil(n d) - 1 is at most 117. */
enum { MATRIX_MAX = 127 };
typedef struct matrix {
  int m;
  int exponent; /* times 2^exponent */
  double at[MATRIX_MAX][MATRIX_MAX];
} matrix;

static void multiply(const matrix *a, const matrix *b, matrix *out)
{
  const int m = out->m = a->m, middle = m / 2;
  for (int i = 0; i < m; i++) {
    memset(out->at[i], 0, sizeof out->at[i]);
    for (int k = 0; k < m; k++) {
      for (int j = 0; j < m; j++) out->at[i][j] += a->at[i][k] * b->at[k][j];
    }
  }
  out->exponent = a->exponent + b->exponent;
  if (out->at[middle][middle] < 0x1p128) return;
  for (int i = 0; i < m; i++) {
    for (int j = 0; j < m; j++) out->at[i][j] *= 0x1p-128;
  }
  out->exponent += 128;
}

/* H of Marsaglia, Tsang & Wang for n d = k - h. */
static void durbin_matrix(int k, double h, matrix *H)
{
  const int m = H->m = 2 * k - 1;
  double factorial[MATRIX_MAX + 1] = {1};
  H->exponent = 0;
  for (int i = 1; i <= m; i++) factorial[i] = factorial[i - 1] * i;
  for (int i = 0; i < m; i++) {
    for (int j = 0; j < m; j++) H->at[i][j] = i - j + 1 < 0 ? 0 : 1 / factorial[i - j + 1];
  }
  for (int i = 0; i < m; i++) { /* left column and bottom row, which share the corner */
    H->at[i][0] -= pow(h, i + 1) / factorial[i + 1];
    H->at[m - 1][m - 1 - i] -= pow(h, i + 1) / factorial[i + 1];
  }
  if (2 * h > 1) H->at[m - 1][0] += pow(2 * h - 1, m) / factorial[m];
}

/* P(D < d): element (k, k) of n!/n^n H^n. */
static double ks_below_matrix(int64_t n, double d)
{
  matrix H, power, product;
  const int k = (int)ceil((double)n * d);
  durbin_matrix(k, k - (double)n * d, &H);
  power = (matrix){.m = H.m};
  for (int i = 0; i < H.m; i++) power.at[i][i] = 1;
  for (int64_t left = n; left; left /= 2) {
    if (left % 2) {
      multiply(&power, &H, &product);
      power = product;
    }
    multiply(&H, &H, &product);
    H = product;
  }
  double p = power.at[k - 1][k - 1];
  int exponent = power.exponent;
  for (int64_t i = 1; i <= n; i++) {
    p *= (double)i / (double)n;
    if (p < 0x1p-128) {
      p *= 0x1p128;
      exponent -= 128;
    }
  }
  return ldexp(p, exponent);
}

/* P(D < d) by Pelz & Good: K0 + K1 n^-1/2 + K2 n^-1 + K3 n^-3/2, functions of z = d sqrt n. */
static double ks_below_series(int64_t n, double d)
{
  const double z = d * sqrt((double)n), z2 = z * z, z4 = z2 * z2, z6 = z4 * z2, p2 = pi * pi, p4 = p2 * p2,
               p6 = p4 * p2;
  const int terms = (int)ceil(16 * z / pi) + 2;
  double k0 = 0, k1 = 0, k2 = 0, k3 = 0, more2 = 0, more3 = 0;
  for (int k = terms; k >= 1; k--) {
    const double odd = 2 * k - 1, o2 = odd * odd, o4 = o2 * o2, o6 = o4 * o2, q = exp(-p2 * o2 / (8 * z2));
    const double k2k = (double)k * k, whole = exp(-p2 * k2k / (2 * z2));
    k0 += q;
    k1 += (p2 / 4 * o2 - z2) * q;
    k2 += (6 * z6 + 2 * z4 + p2 / 4 * (2 * z4 - 5 * z2) * o2 + p4 / 16 * (1 - 2 * z2) * o4) * q;
    k3 += (-30 * z6 - 90 * z4 * z4 + p2 / 4 * (135 * z4 - 96 * z6) * o2 + p4 / 16 * (212 * z4 - 60 * z2) * o4 +
           p6 / 64 * (5 - 30 * z2) * o6) *
          q;
    more2 += k2k * whole;
    more3 += (3 * z2 - p2 * k2k) * k2k * whole;
  }
  const double root = sqrt(2 * pi), s = sqrt((double)n);
  k2 = k2 / (72 * z6 * z) - p2 / (36 * z2 * z) * more2;
  k3 = k3 / (6480 * z6 * z4) + p2 / (216 * z6) * more3;
  return root * (k0 / z + k1 / (6 * z4) / s + k2 / (s * s) + k3 / (s * s * s));
}

/* P(D+ > d) = d sum over j <= n (1 - d) of C(n, j) (d + j/n)^(j - 1) (1 - d - j/n)^(n - j). */
static double ks_above_one_side(int64_t n, double d)
{
  const double N = (double)n;
  double sum = 0;
  for (int64_t j = 0; j < n && (double)j / N < 1 - d; j++) {
    const double J = (double)j, up = d + J / N, down = -d - J / N;
    sum += exp(lgamma(N + 1) - lgamma(J + 1) - lgamma(N - J + 1) + (J - 1) * log(up) + (N - J) * log1p(down));
  }
  return d * sum;
}

static double in_unit(double p) { return fmin(fmax(p, 0), 1); }

double syz_ks_probability(int64_t n, double d)
{
  const double N = (double)n, t = N * d, square = t * d;
  if (n < 1 || isnan(d)) return NAN;
  if (d >= 1 || square >= 370) return 0;
  if (t <= 0.5) return 1;
  if (t <= 1) return in_unit(1 - exp(lgamma(N + 1) - N * log(N) + N * log(2 * t - 1)));
  if (t >= N - 1) return in_unit(2 * pow(1 - d, N));
  if (d >= 0.5 || square > (n <= 140 ? 4 : 2.2)) return in_unit(2 * ks_above_one_side(n, d));
  if (n <= 140 || (n <= 100000 && N * pow(d, 1.5) <= 1.4)) return in_unit(1 - ks_below_matrix(n, d));
  return in_unit(1 - ks_below_series(n, d));
}

/* exp(-z) K_nu(z), z > 0. */
static double bessel(double nu, double z)
{
  const double step = 0.0625;
  double sum = 0.5;
  if (2 * z > 745) return 0;
  for (int i = 1;; i++) {
    const double t = i * step, term = exp(-z * (cosh(t) - 1)) * cosh(nu * t);
    sum += term;
    if (term < 1e-18 * sum && t > 1) break;
  }
  return exp(-2 * z) * step * sum;
}

/* Parabolic cylinder functions of the paper's 1.10, times their exponentials. */
static double cylinder_2(double y)
{
  const double z = y * y / 4;
  return pow(y / 2, 1.5) * (bessel(0.25, z) + bessel(0.75, z)) / sqrt(pi);
}
static double cylinder_3(double y)
{
  const double z = y * y / 4;
  return pow(y / 2, 2.5) * (2 * bessel(0.25, z) + 3 * bessel(0.75, z) - bessel(1.25, z)) / sqrt(pi);
}

/* Term k of the limit, equation 1.2. */
static double cvm_limit(int k, double x)
{
  const double y = 4 * k + 1, q = y * y / (16 * x);
  return exp(lgamma(k + 0.5) - lgamma(k + 1.0)) / (pow(pi, 1.5) * sqrt(x)) * sqrt(y) * bessel(0.25, q);
}

/* Term k of n times the correction, without the limit / 12. */
static double cvm_correction(int k, double x)
{
  const double m = 2 * k + 1, s = 2 * sqrt(x), x3 = pow(x, 0.75), x5 = pow(x, 1.25);
  const double gamma = exp(lgamma(k + 0.5) - lgamma(k + 1.0)), at1 = (4 * k + 1) / s, at3 = (4 * k + 3) / s,
               at5 = (4 * k + 5) / s;
  const double sum = m * cylinder_2(at3) / (9 * x3) + cylinder_3(at1) / (72 * x5) +
                     2 * (m + 2) * (k + 0.5) * cylinder_3(at5) / (12 * x5) +
                     7 * m * (cylinder_2(at1) + cylinder_2(at5)) / (144 * x3);
  return -gamma / pi * sum;
}

double syz_cvm_probability(int64_t n, double x)
{
  const double N = (double)n;
  double limit = 0, correction = 0, size = 1;
  if (n < 1 || isnan(x)) return NAN;
  if (x <= 1 / (12 * N)) return 1;
  if (x >= N / 3 || x > 12) return 0; /* 2 exp(-pi^2 x/2) is below 1e-25 there */
  for (int k = 0; k < 1000 && size > 1e-15; k++) {
    const double a = cvm_limit(k, x), b = cvm_correction(k, x);
    limit += a;
    correction += b;
    size = fabs(a) + fabs(b);
  }
  return in_unit(1 - (limit * (1 + 1 / (12 * N)) + correction / N));
}
