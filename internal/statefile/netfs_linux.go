package statefile

import "syscall"

// networkFS names the network file system that folder is on, "" for a local one.
func networkFS(folder string) (string, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil {
		return "", err
	}
	return networkName(uint32(st.Type)), nil
}

// nameLimit is how many bytes a file's name may have in folder: 143 on eCryptfs.
func nameLimit(folder string) int {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil || st.Namelen <= 0 {
		return maxFile
	}
	return min(int(st.Namelen), maxFile)
}

// networkName knows the numbers of statfs(2). FUSE is not among them: it says
// nothing about whether what is behind it is remote.
func networkName(magic uint32) string {
	switch magic {
	case 0x6969:
		return "NFS"
	case 0x517B, 0xFE534D42, 0xFF534D42:
		return "SMB"
	case 0x01021997:
		return "9P"
	case 0x00C36400:
		return "Ceph"
	case 0x5346414F, 0x6B414653:
		return "AFS"
	case 0x73757245:
		return "Coda"
	case 0x0BD00BD0:
		return "Lustre"
	case 0x47504653:
		return "GPFS"
	}
	return ""
}
