/** argv → command; the only file that does anything on import. */
