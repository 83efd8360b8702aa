"""What tests of several areas share: policies of their own, a running bridge, a look into its evidence."""
