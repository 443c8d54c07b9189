"""The vendor's report files, read by the names in their headers and tags, whatever the version."""

from projects.reports.figures import Figure, read_vendor_reports

__all__ = ["Figure", "read_vendor_reports"]
