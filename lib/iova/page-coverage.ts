/**
 * How much of a map an IOMMU can hold in large pages: those whose start is a multiple of their size on both sides. With 4 KiB
 * pages instead a lookup misses the IOMMU's cache that much more often.
 */

const LARGE_PAGE = 2 ** 21;
const HUGE_PAGE = 2 ** 30;

export interface PageCoverage {
  /** Bytes in whole pages of 1 GiB. */
  readonly huge: number;
  /** Bytes in whole pages of 2 MiB that are not in those. */
  readonly large: number;
}

/** @param hva Where the process has the memory; that the host backs it with large pages too is not known here. */
export function pageCoverage(iova: number, hva: number, size: number): PageCoverage {
  const huge = wholePages(iova, hva, size, HUGE_PAGE);
  return { huge, large: wholePages(iova, hva, size, LARGE_PAGE) - huge };
}

/** A whole 1 GiB page is 512 whole 2 MiB pages, so one count contains the other. */
function wholePages(iova: number, hva: number, size: number, page: number): number {
  if (iova % page !== hva % page) return 0;
  const first = Math.ceil(iova / page);
  const end = Math.floor((iova + size) / page);
  return Math.max(0, end - first) * page;
}
