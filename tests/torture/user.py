"Another user, for the rest of a process."
import ctypes, os, pwd

KEEP_CAPS,READ_ANY,VERSION = 8,1<<2,0x20080522 # of Linux: an option of prctl, CAP_DAC_READ_SEARCH, capabilities of 64 bits

def nobody():
    "Where we are root, become a user who may read whatever Python is installed from, and write nothing."
    if os.geteuid(): return
    user,libc = pwd.getpwnam('nobody'),ctypes.CDLL(None, use_errno=True)
    libc.prctl(KEEP_CAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    _keep(libc, READ_ANY)

def _keep(libc, rights):
    "Keep these capabilities only: effective, permitted and inheritable ones, of the first 32 bits and of the others"
    sets = (ctypes.c_uint32*6)(rights, rights, 0, 0, 0, 0)
    if libc.capset((ctypes.c_uint32*2)(VERSION, 0), sets): raise OSError(ctypes.get_errno(), 'capabilities cannot be set')

def helpless():
    "The same without the right to read."
    was_root = not os.geteuid()
    nobody()
    if was_root: _keep(ctypes.CDLL(None, use_errno=True), 0)
