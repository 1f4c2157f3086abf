"""Prints the id of every image of the account itself, one a line."""

import boto3

for image in boto3.client("ec2").describe_images(Owners=["self"])["Images"]:
    print(image["ImageId"])
