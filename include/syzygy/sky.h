/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * sky: positions and images on the sky. The common grids, WCS and cutouts, images, catalogues, cross-match.
 *
 * Nothing here knows of MPI and nothing is collective. Inside: angles degrees (ICRS), wavelengths Angstrom in vacuum,
 * flux densities 1e-17 erg/s/cm2/Angstrom, image fluxes nanomaggy; readers convert the units of files. Every file is
 * hostile until checked, as in fits.h; messages name file, HDU or object, and reason. Array axes are named slowest
 * first (C order).
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/fits.h" /* files and header cards, which are part of this face */

/* ------------------------------------------------------- the common grid */

enum {
  SYZ_BANDS = 3,             /**< g, r, z, always in this order */
  SYZ_IMAGE_SIZE = 152,      /**< pixels per side of a stored image */
  SYZ_SPECTRUM_PIXELS = 7781 /**< S */
};
#define SYZ_PIXEL_ARCSEC 0.262
#define SYZ_WAVE_FIRST_A 3600.0
#define SYZ_WAVE_STEP_A 0.8
/**
 * Largest plausible absolute value of a flux, an inverse variance or an image pixel, in the units of this header; an
 * object with a larger one is bad. In nanomaggies it is magnitude -7.5; as a spectrum, it is about 1000 times the light
 * of Vega, too. The sum of squares of such values over a whole image still fits into float32.
 */
#define SYZ_VALUE_MAX 1e12f

/** Wavelength of spectral pixel i: 3600 + 0.8 i Angstrom, vacuum. See src/sky/README.md "The common grid". */
static inline double syz_wave_grid(int64_t i) { return SYZ_WAVE_FIRST_A + SYZ_WAVE_STEP_A * (double)i; }

/**
 * The Legacy Survey viewer's colour mapping: image [3, n] nanomaggy in g, r, z to planes [3, n] in z, r, g, each in [0,
 * 1].
 *
 * Per pixel, with s = (6.0, 3.4, 2.2), m = 0.03, Q = 20: I = mean over bands of max(0, s x + m), f = asinh(Q I) /
 * sqrt(Q), plane = clip((s x + m) f / I, 0, 1), and I = 1e-6 in the division where it is 0. The numerator is not
 * clipped before the division. n = H W of any size; image and planes must not overlap; input must be finite. float32
 * throughout, within 1e-6 of float64. See src/sky/README.md "Colour mapping". Source: AstroCLIP
 * astrodino/data/augmentations.py.
 */
void syz_colour_map(float *restrict planes, const float *restrict image, int64_t n);

/* -------------------------------------------------------------------- WCS */

/** A celestial world coordinate system of axes 1 and 2: TAN, TPV, SIP, ZEA, and all others that wcslib reads. */
typedef struct syz_wcs syz_wcs;
/** North up, East left, TAN: pixel (x, y) (0-based) is at (ra, dec). */
syz_status syz_wcs_create_tan(double ra, double dec, double x, double y, double pixel_arcsec, syz_wcs **out);
void syz_wcs_destroy(syz_wcs **w);
/** Degrees (ICRS) to pixel centres counted from 0; a position that cannot be projected becomes NaN. */
syz_status syz_wcs_to_pixel(syz_wcs *w, int64_t n, const double *ra, const double *dec, double *x, double *y);
syz_status syz_wcs_to_sky(syz_wcs *w, int64_t n, const double *x, const double *y, double *ra, double *dec);
/** The keywords of such a TAN (CTYPE, CRVAL, CRPIX, CD, CUNIT, EQUINOX, RADESYS) for writing; returns their number,
 * <= 16. */
int syz_wcs_tan_cards(double ra, double dec, double x, double y, double pixel_arcsec, syz_fits_card cards[16]);

/* ------------------------------------------------------------ cross-match */

/** Great-circle distance in degrees (Vincenty's form: exact at all separations). */
double syz_separation(double ra1, double dec1, double ra2, double dec2);

/** Positions in a k-d tree of unit vectors: the poles and RA = 0 need no special cases. */
typedef struct syz_skytree syz_skytree;
/** Positions that are not finite are left out of the tree. Arrays are copied. */
syz_status syz_skytree_create(int64_t n, const double *ra, const double *dec, syz_skytree **out);
void syz_skytree_destroy(syz_skytree **t);
/** Number of the nearest position within `radius_deg`, or -1; the lowest number among equally near ones.
 * *separation_deg may be NULL. */
int64_t syz_skytree_nearest(const syz_skytree *t, double ra, double dec, double radius_deg, double *separation_deg);
/** The same with the squared chord between the unit vectors, exactly as the tree compares it: to compare results of
 * several trees. */
int64_t syz_skytree_search(const syz_skytree *t, double ra, double dec, double radius_deg, double *chord2);

/** Call `visit` for all positions within `radius_deg`, in no fixed order, until it returns false. */
void syz_skytree_within(const syz_skytree *t, double ra, double dec, double radius_deg,
                        bool (*visit)(void *context, int64_t number), void *context);

enum {
  SYZ_ZONES = 720,                         /**< zones of a quarter of a degree in declination */
  SYZ_CELLS_ACROSS = 2 * SYZ_ZONES,        /**< most cells of a zone */
  SYZ_CELLS = SYZ_ZONES * SYZ_CELLS_ACROSS /**< cell numbers are smaller than this; not all are used */
};
/** The cell of the sky that contains a finite position, 0 .. SYZ_CELLS - 1; cells are about a quarter of a degree
 * across. See src/sky/cells.c. */
int32_t syz_cell_of(double ra, double dec);
/** Call `visit` once for every cell that a disc touches, and perhaps for a few neighbours. radius_deg <= 90. */
void syz_cells_around(double ra, double dec, double radius_deg, void (*visit)(void *context, int32_t cell),
                      void *context);

/** TARGETID of an imaging object: OBJID | BRICKID << 22 | RELEASE << 42. Source: desitarget data/targetmask.yaml. */
int64_t syz_targetid(int64_t release, int64_t brickid, int64_t objid);
/** Whether a TARGETID is a sky or blank position: negative, or bit 59 (SKY) set. */
bool syz_targetid_is_sky(int64_t targetid);
enum { SYZ_BRICKS = 662174 /**< bricks of the Legacy Surveys, numbered from 1 */ };
/** The imaging from which the TARGETID of an imaging object comes, by its RELEASE: 'N' (BASS, MzLS) or 'S' (DECam), and
 * its brick; 0 for other identifiers. */
char syz_photsys(int64_t targetid, int32_t *brick);
/** The imaging whose sources the surveys keep at a position: 'N' from Dec 32.375 in the north Galactic cap, 'S'
 * elsewhere. See src/sky/resolve.c. */
char syz_photsys_kept(double ra, double dec);
/** Identifier of an SDSS spectrum: PLATE 10^9 + MJD 10^4 + FIBERID (readable: 266516300367 is spec-0266-51630-0367). */
int64_t syz_sdss_id(int64_t plate, int64_t mjd, int64_t fiber);

/* ------------------------------------------------- catalogues of positions */

/** A table with positions: Tractor, sweep, any FITS table with RA and Dec under a usual name in any case. */
typedef struct syz_catalogue syz_catalogue;
/** `ra_column`, `dec_column`: "" = found by usual names (ra, dec; radeg, dedeg; target_ra; raj2000; alpha_j2000; ...).
 * `id_column`: see syz_catalogue_read. SYZ_ERR_DATA. */
syz_status syz_catalogue_open(const char *path, bool verify, const char *ra_column, const char *dec_column,
                              const char *id_column, syz_catalogue **out);
void syz_catalogue_close(syz_catalogue **c);
/** Free the memory of the rows read so far, which can be read again: for tables larger than memory. */
void syz_catalogue_release(syz_catalogue *c);
int64_t syz_catalogue_count(const syz_catalogue *c);
/**
 * Rows [first, first + n); any output may be NULL.
 *
 * Identifier: the column given at opening ("none": no identifier); else TARGETID; RELEASE, BRICKID, OBJID packed;
 * LS_ID; OBJECT_ID; 64-bit OBJID; else -1. Integers or their text, exact in 64 bits. SYZ_ERR_DATA at opening for
 * floats, at reading for unsigned numbers of 2^63 and more.
 */
syz_status syz_catalogue_read(syz_catalogue *c, int64_t first, int64_t n, double *ra, double *dec, int64_t *object_id);
/** A numeric column by name (case ignored) as float64; all NaN when there is none (*has = false). */
syz_status syz_catalogue_column(syz_catalogue *c, const char *name, int64_t first, int64_t n, double *value, bool *has);

/** Search for such a column. */
void syz_catalogue_search(const syz_catalogue *c, const char *name, syz_column_search *search);

/* ----------------------------------------------------------------- images */

typedef enum syz_resampling { SYZ_RESAMPLE_AUTO, SYZ_RESAMPLE_LANCZOS, SYZ_RESAMPLE_AREA } syz_resampling;

typedef struct syz_images_options {
  bool verify;
  syz_resampling
      resampling; /**< auto: Lanczos-3, or area-exact where the file's pixels are less than 0.8 of the wanted size */
  /** Side in arcsec of the pixel that pixel values refer to, whatever the file's scale. 0 = by the header: 0.262 for
   * the Legacy viewer's cutouts (0.396 for its SDSS layers), which it interpolates to other scales without conserving
   * flux; otherwise the file's own pixel. */
  double value_per_pixel_arcsec;
  const char *unit;  /**< "" = by BUNIT or MAGZERO; "nanomaggy" states it where the file does not */
  const char *bands; /**< bands of a cube's planes in order, where the file does not state them: "grz"; "" = refuse */
  const char *zero_points; /**< path of a survey-ccds table for instrumental units, "" = none */
} syz_images_options;

/** One band's image inside a file. */
typedef struct syz_plane {
  int band; /**< 0 g, 1 r, 2 z */
  int hdu;
  int64_t width, height, first_pixel;
  double factor;       /**< file units to nanomaggy per own pixel */
  double value_arcsec; /**< side of the pixel that values refer to, if not the file's own (`factor` includes it);
                          otherwise 0 */
  double pixel_arcsec; /**< square root of the pixel's area at the centre */
  bool is_aligned;     /**< North up, East left, 0.262 arcsec within 1e-3: cutouts copy the file's own pixels */
  double ra, dec;      /**< of the centre */
  double radius_deg;   /**< centre to farthest corner */
} syz_plane;

/** A file with images of one or more bands: bricks, frames, cubes. */
typedef struct syz_images syz_images;
/** Reads headers only; the texts in `options` are borrowed until closing. SYZ_ERR_DATA names the reason: no WCS, no
 * unit, no band, weights or masks instead of an image. */
syz_status syz_images_open(const char *path, const syz_images_options *options, syz_images **out);
void syz_images_close(syz_images **f);
int syz_images_count(const syz_images *f);
const syz_plane *syz_images_plane(const syz_images *f, int i);
/** Whether a file name is that of a weight, mask or exposure map (invvar, nexp, ood, oow, psf, ...), to be skipped. */
bool syz_images_is_side_product(const char *path);
/** The WCS of a plane, borrowed. */
syz_wcs *syz_images_wcs(const syz_images *f, int i);
/** Free the decoded pixels; they are decoded again when needed. */
void syz_images_unload(syz_images *f);

/**
 * A square cutout around a position, nanomaggy per wanted pixel, North up and East left, [size, size].
 *
 * pixel_arcsec 0: the file's own pixels and orientation, nothing resampled. A plane that already has the wanted scale
 * and orientation (is_aligned at 0.262) is not resampled either: the window of its pixels whose centre is nearest to
 * the position is copied, as in the Legacy Surveys' cutouts, so the galaxy is within half a pixel of the middle and
 * pixel values are exact. Otherwise the galaxy is at the middle, (size - 1) / 2, and values are resampled with the
 * pixel-area factor (flux is conserved). Pixels outside the file or without a value are NaN; *covered: fraction of
 * pixels with a value.
 */
syz_status syz_images_cutout(syz_images *f, int i, double ra, double dec, int size, double pixel_arcsec, float *out,
                             double *covered);

/** Lanczos-3 or area-exact resampling of in [height, width], whose first pixel is (first_x, first_y) of the grid
 * `from`, to out [size, size] on the grid `to`, times `factor`: the kernels of syz_images_cutout. */
syz_status syz_resample(const float *in, int64_t width, int64_t height, int64_t first_x, int64_t first_y, syz_wcs *from,
                        syz_wcs *to, int size, syz_resampling how, double factor, float *out);
