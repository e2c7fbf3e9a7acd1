"""The confirm of a finished study on the test split: set-up, contenders, and the job."""
