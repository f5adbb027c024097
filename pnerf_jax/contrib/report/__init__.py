"""Reports: self-contained HTML pages with pictures, tables and plots."""
