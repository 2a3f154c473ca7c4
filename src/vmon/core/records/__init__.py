"""What vmon says of a guest: records with the field names of psutil and osquery, ready to be written out.

Pure data, a module a subject. Text that comes from the guest is str decoded as the file system does it
(surrogateescape), so no byte is lost; who prints it escapes it. None means that the field could not be read or does
not apply; it is never guessed. Records of plain values are left out of Python's garbage collection (gc=False): there
are ten thousands of them.
"""
