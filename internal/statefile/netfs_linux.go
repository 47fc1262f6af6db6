package statefile

import "syscall"

// networkFS names the network file system that folder lies on, "" for a local
// one. The numbers are those of statfs(2). FUSE is not among them: whether one
// is remote cannot be told from it.
func networkFS(folder string) (string, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil {
		return "", err
	}
	switch uint32(st.Type) {
	case 0x6969:
		return "NFS", nil
	case 0x517B, 0xFE534D42, 0xFF534D42:
		return "SMB", nil
	case 0x01021997:
		return "9P", nil
	case 0x00C36400:
		return "Ceph", nil
	case 0x5346414F, 0x6B414653:
		return "AFS", nil
	case 0x73757245:
		return "Coda", nil
	case 0x0BD00BD0:
		return "Lustre", nil
	case 0x47504653:
		return "GPFS", nil
	}
	return "", nil
}
